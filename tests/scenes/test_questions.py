"""Questions: every answer recomputed from the scene graph by reading the question's words."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unimm.scenes.prompts import plural
from unimm.scenes.questions import KINDS, ask, ask_any
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
