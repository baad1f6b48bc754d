"""Questions: every answer recomputed from the scene graph by reading the question's words."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from unimm.scenes.prompts import plural
from unimm.scenes.questions import KINDS, Question, ask, ask_any, by_answer
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import WORLDS, world

NUMBERS = ["zero", "one", "two", "three", "four"]


def answer(words: list[str], scene, here) -> str:
    items = scene.items
    if words[:2] == ["is", "there"]:
        colour, shape = words[3:5]
        return "yes" if any(i.colour == colour and i.shape == shape for i in items) else "no"
    if words[:2] == ["how", "many"]:
        (shape,) = [s for s in here.shapes if plural(s) == words[2]]
        return NUMBERS[len([i for i in items if i.shape == shape])]
    if words[:2] == ["what", "colour"]:
        (item,) = [i for i in items if i.shape == words[4]]
        return item.colour
    (subject,) = [i for i in items if i.shape == words[2]]
    (reference,) = [i for i in items if i.shape == words[-2]]
    relation = words[3]
    return {
        "left": "yes" if subject.x < reference.x else "no",
        "right": "yes" if subject.x > reference.x else "no",
        "above": "yes" if subject.y < reference.y else "no",
        "below": "yes" if subject.y > reference.y else "no",
    }[relation]


@pytest.mark.parametrize("name", list(WORLDS))
@pytest.mark.parametrize("kind", KINDS)
def test_answers_follow_from_the_graph(name, kind):
    here, rng = world(name), np.random.default_rng(1)
    asked: Counter[str] = Counter()
    for index in range(60):
        scene = scene_sample(here, "train", 3, index).scene
        for _ in range(4):
            question = ask(kind, scene, here, rng)
            if question is None:
                continue
            assert question.kind == kind
            assert question.answer in question.choices
            assert question.answer == answer(question.text.split(), scene, here), question
            asked[question.answer] += 1
    assert asked.total() >= 40
    if kind in ("exists", "relation"):
        assert 0.35 < asked["yes"] / asked.total() < 0.65


def test_questions_repeat_with_the_generator():
    here = world("scenes-nano")
    scene = scene_sample(here, "train", 0, 4).scene
    draws = [[ask_any(scene, here, np.random.default_rng(i)) for i in range(20)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert len({q.kind for q in draws[0]}) >= 3


def test_a_scene_without_a_clear_answer_is_not_asked():
    here, rng = world("scenes-nano"), np.random.default_rng(0)
    single = scene_sample(here, "train", 0, 0).scene
    assert len(single.items) == 1
    assert ask("relation", single, here, rng) is None
    counting = scene_sample(here, "train", 0, 2).scene
    assert ask("colour", counting, here, rng) is None


def nano_scenes(count: int, split: str = "train") -> list:
    here = world("scenes-nano")
    return [scene_sample(here, split, 0, index).scene for index in range(count)]


def without_looking(asked: list[Question]) -> dict[str, float]:
    """By kind, how often the answer is right that a text has most often in the first half, in the second half."""
    half, seen = len(asked) // 2, defaultdict(Counter)
    for question in asked[:half]:
        seen[question.text][question.answer] += 1
    right = defaultdict(list)
    for question in asked[half:]:
        right[question.kind].append(
            max(seen[question.text], key=seen[question.text].get, default="") == question.answer
        )
    return {kind: float(np.mean(values)) for kind, values in right.items()}


def test_answers_first_whoever_sees_the_question_alone_is_at_chance():
    here = world("scenes-nano", "by_answer")
    asked = [question for _, question in islice(by_answer(nano_scenes(1800), here, [1]), 20_000)]
    chance = {question.kind: 1 / len(question.choices) for question in asked}
    found = without_looking(asked)
    assert set(found) == set(KINDS)
    assert all(found[kind] <= chance[kind] + 0.03 for kind in KINDS), found


def test_scene_by_scene_the_question_gives_counts_away():
    here, rng = world("scenes-nano"), np.random.default_rng(0)
    asked = [ask_any(scene, here, rng) for scene in nano_scenes(1800)]
    assert without_looking(asked)["count"] > 0.5


def test_answers_first_are_equally_frequent_and_true():
    here, scenes = world("scenes-nano", "by_answer"), nano_scenes(600, "test")
    asked = list(islice(by_answer(scenes, here, [2]), 1200))
    assert Counter(question.kind for _, question in asked) == dict.fromkeys(KINDS, 300)
    for kind in KINDS:
        counts = Counter(question.answer for _, question in asked if question.kind == kind)
        choices = {question.choices for _, question in asked if question.kind == kind}.pop()
        assert set(counts) == set(choices)
        assert all(abs(number / 300 - 1 / len(choices)) < 0.02 for number in counts.values())
    words = Counter(question.text.split()[3] for _, question in asked if question.kind == "relation")
    assert set(words) == {"left", "right", "above", "below"} and min(words.values()) > 50
    assert all(question.answer == answer(question.text.split(), scenes[number], here) for number, question in asked)


def test_answers_first_repeat_with_the_key_and_use_many_scenes():
    here, scenes = world("scenes-nano", "by_answer"), nano_scenes(240)
    first, again, other = (list(islice(by_answer(scenes, here, key), 480)) for key in ([1], [1], [2]))
    assert first == again != other
    assert len({number for number, _ in first}) > 120


def test_an_unknown_way_to_ask_is_named():
    with pytest.raises(ValueError, match="unknown way 'evenly' to ask about scenes; known: by_scene, by_answer"):
        world("scenes-nano", "evenly")
