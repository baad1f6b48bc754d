"""Lists that are looked up: what a row answers is what its list holds, and a stage shows them before its own rows."""

from __future__ import annotations

import re
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pytest
import torch

from unimm.backbones.causal_lm import Row
from unimm.backbones.literal import special_ids
from unimm.backbones.wording import image_id
from unimm.data.scenes import SceneSet
from unimm.pretraining import language
from unimm.pretraining.image_rows import OPENING, image_stream
from unimm.pretraining.recall import PAIRS, any_pairs, seen_objects, told_objects, told_relation
from unimm.pretraining.recipes import Course, TrainingCost
from unimm.pretraining.rows import language_rows
from unimm.pretraining.sizes import Reading
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.scenes.captions import place
from unimm.scenes.questions import OPPOSITE, unique_items
from unimm.scenes.world import RELATIONS, Scene, world

TOKENIZER = build_tokenizer()


def covered(row: Row) -> list[int]:
    """Ids that the loss covers."""
    return [word for place, word in enumerate(row.ids[-row.answer :]) if place not in row.asides]


@pytest.mark.parametrize("draw", range(20))
def test_pairs_are_asked_for_what_stood_before_each_key(draw: int) -> None:
    row = any_pairs(TOKENIZER, np.random.default_rng(draw))
    shown, asked = row.ids[: 2 * PAIRS], row.ids[2 * PAIRS :]
    assert row.answer == len(asked) == 2 * PAIRS
    before = {key: value for value, key in zip(shown[::2], shown[1::2], strict=True)}
    assert sorted(asked[::2]) == sorted(before)
    assert [before[key] for key in asked[::2]] == asked[1::2]
    assert special_ids(TOKENIZER).isdisjoint(row.ids)
    assert covered(row) == asked[1::2]


@pytest.mark.parametrize("draw", range(40))
def test_answers_about_objects_are_what_the_list_says(draw: int) -> None:
    row = told_objects(TOKENIZER, np.random.default_rng(draw))
    shown = TOKENIZER.decode(row.ids[: -row.answer])
    text = TOKENIZER.decode(row.ids)
    listed, _ = re.split(r" \. (?:describe|what)", shown, maxsplit=1)
    colours = {shape: colour for colour, shape in pairwise(listed.split())}
    said = re.findall(r"the (\w+) is (\w+) \.", text)
    said += re.findall(r"what colour is the (\w+) \? <\|im_end\|> <\|im_start\|> assistant (\w+) <\|im_end\|>", text)
    assert 2 <= len(said) <= 5
    assert all(colours[shape] == colour for shape, colour in said)
    assert len({shape for shape, _ in said}) == len(said)
    assert TOKENIZER.unk_token_id not in row.ids
    colour, turn = [colour for _, colour in said], "describe" not in text
    expected = [f"{each} {'<|im_end|>' if turn else '.'}" for each in colour]
    assert TOKENIZER.decode(covered(row)) == " ".join(expected) + " <|im_end|>" * (not turn)
    assert row.weight * len(covered(row)) == pytest.approx(1)


def test_both_wordings_of_answers_and_of_lists_come_up() -> None:
    texts = [TOKENIZER.decode(told_objects(TOKENIZER, np.random.default_rng(i)).ids) for i in range(60)]
    assert {"describe the objects" in text for text in texts} == {True, False}
    assert {re.search(r"user an? ", text) is not None for text in texts} == {True, False}


@pytest.mark.parametrize("draw", range(40))
def test_how_two_objects_stand_is_what_the_caption_says(draw: int) -> None:
    row = told_relation(TOKENIZER, np.random.default_rng(draw))
    caption, asked = (TOKENIZER.decode(part) for part in (row.ids[: -row.answer], row.ids[-row.answer :]))
    a, stands, b = re.match(r"an? \w+ (\w+) (left of|right of|above|below) an? \w+ (\w+)", caption).groups()
    ways = [f"{a} {stands} {b}", f"{b} {OPPOSITE[stands]} {a}"]
    wrong = [f"{a} {OPPOSITE[stands]} {b}", f"{b} {stands} {a}"]
    how = [f"{a} {b} {stands.split()[0]}", f"{b} {a} {OPPOSITE[stands].split()[0]}"]
    facts = [*how, *(f"{way} yes" for way in ways), *(f"{way} no" for way in wrong)]
    for fact in facts:
        asked = asked.replace(fact, "", 1)
    assert not asked.strip()
    assert TOKENIZER.unk_token_id not in row.ids
    said = TOKENIZER.decode(covered(row)).split()
    assert set(said[:2]) == {fact.split()[-1] for fact in how}
    assert sorted(said[2:]) == ["no", "no", "yes", "yes"]
    assert row.weight * len(said) == pytest.approx(1)


SCENES = [sample.scene for sample in SceneSet(world("scenes-nano", "by_answer"), "train", 48, 64, half=0).samples]


@pytest.mark.parametrize("scene", [scene for scene in SCENES if len(unique_items(scene)) > 1])
def test_lists_of_an_image_say_what_it_shows(scene: Scene) -> None:
    row = seen_objects(TOKENIZER, scene, 4, np.random.default_rng(3))
    assert row.ids[: -row.answer] == [image_id(TOKENIZER)] * 4
    words = TOKENIZER.convert_ids_to_tokens(row.ids[4:])
    facts = [(list(group), asked) for asked, group in groupby(range(len(words)), lambda at: at in row.asides)]
    told = [(" ".join(words[at] for at in group), asked) for group, asked in facts]
    assert [asked for _, asked in told] == [True, False] * (len(told) // 2)
    items = {item.shape: item for item in unique_items(scene)}
    seen = set()
    for (question, _), (answer, _) in zip(told[::2], told[1::2], strict=True):
        if question in items:
            assert answer == f"{items[question].colour} {place(items[question])}"
            seen.add(question)
            continue
        first, *relation, second = question.split()
        if relation:
            assert answer == ("yes" if items[first].stands(" ".join(relation), items[second]) else "no")
        else:
            assert answer in [r.split()[0] for r in RELATIONS if items[first].stands(r, items[second])]
    assert seen == set(items)


def test_lists_of_images_ask_as_often_for_yes_as_for_no() -> None:
    shown = [scene for scene in SCENES * 4 if unique_items(scene)]
    rows = [seen_objects(TOKENIZER, scene, 1, np.random.default_rng([i, 1])) for i, scene in enumerate(shown)]
    words = [word for row in rows for word in TOKENIZER.convert_ids_to_tokens(row.ids)]
    assert words.count("yes") == words.count("no") > 40


class Backbone:
    of_foundation = True
    tokenizer = TOKENIZER
    queries = torch.zeros(1)


def test_questions_about_an_image_come_three_in_turn() -> None:
    data = SceneSet(world("scenes-nano", "by_answer"), "train", 48, 64, half=0)
    made = image_stream(Backbone(), data, 2).rows  # type: ignore[arg-type]
    turns = [TOKENIZER.decode(row.ids).count("<|im_start|> user") for row in made.rows[:10]]
    assert turns == [3, 3, 1, 3, 0, 1, 3, 3, 0, 1]
    assert [row.weight * len(covered(row)) for row in made.rows] == [pytest.approx(1)] * len(made.rows)
    for row, image in zip(made.rows, made.images.tolist(), strict=True):
        if "what colour" in (text := TOKENIZER.decode(row.ids)):
            seen = {(item.shape, item.colour) for item in data.samples[image].scene.items}
            assert set(re.findall(r"colour is the (\w+) \? <\|im_end\|> <\|im_start\|> assistant (\w+)", text)) <= seen


RELATION = r"is the (\w+) (left|right|above|below)(?: of)? the (\w+) \? <\|im_end\|> <\|im_start\|> assistant (\w+)"


@pytest.mark.parametrize("of_foundation", [True, False])
def test_captions_are_asked_thrice_by_who_learns_to_read(of_foundation: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further questions ask how two objects stand where the caption says it, and both answers are as frequent."""
    data = SceneSet(world("scenes-nano", "by_answer"), "train", 240, 64, half=0)
    monkeypatch.setattr(Backbone, "of_foundation", of_foundation)
    texts = [TOKENIZER.decode(row.ids) for row in language_rows(Backbone(), data)]  # type: ignore[arg-type]
    assert {text.count("<|im_start|> user") for text in texts} == ({1, 3} if of_foundation else {1})
    answers = []
    for text in texts:
        for a, stands, b, answer in re.findall(RELATION, text):
            said = re.search(r"(\w+) (left of|right of|above|below) an? \w+ (\w+)", text)
            assert said is not None, text
            first, relation, second = said.groups()
            assert {first, second} == {a, b}
            told = relation if first == a else OPPOSITE[relation]
            assert answer == ("yes" if told.startswith(stands) else "no")
            answers.append(answer)
    assert 0.35 < answers.count("yes") / len(answers) < 0.65
    assert len(answers) > (70 if of_foundation else 20)


@pytest.mark.parametrize(("questions", "opening"), [("by_answer", OPENING), ("by_scene", 0)])
def test_a_stream_opens_with_lists_however_it_is_cut(questions: Any, opening: float) -> None:
    data = SceneSet(world("scenes-nano", questions), "train", 48, 64, half=0)
    stream = image_stream(Backbone(), data, 2)  # type: ignore[arg-type]
    rows, images = stream.between(5, 0, 100, 100)
    lists = {tuple(row.ids) for row in stream.lists.rows}
    assert bool(lists) == (opening > 0)
    assert all(tuple(row.ids) in lists for row in rows[: int(opening * 100)])
    assert any(tuple(row.ids) not in lists for row in rows[int(opening * 100) : int(opening * 100) + 10])
    cut = [stream.between(5, begin, begin + 7, 100) for begin in range(0, 98, 7)]
    assert [row.ids for part, _ in cut for row in part] == [row.ids for row in rows[:98]]
    assert torch.equal(torch.cat([part for _, part in cut]), images[:98])


def test_the_first_edition_has_no_lists() -> None:
    stream = image_stream(Backbone(), SceneSet(world("scenes-nano"), "train", 48, 64, half=0), 2)  # type: ignore[arg-type]
    assert stream.lists.rows == [] and stream.lists.images.dtype == torch.long
    rows, images = stream.between(5, 0, 9, 100)
    assert len(rows) == len(images) == 9 and images.dtype == torch.long


@pytest.mark.parametrize("of_foundation", [True, False])
def test_without_lists_every_row_asks_once(of_foundation: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a model from elsewhere, and of a set whose images show too little for a list."""
    data = SceneSet(world("scenes-nano", "by_answer"), "train", 48, 64, half=0)
    if of_foundation:
        data.samples = [sample for sample in data.samples if len(unique_items(sample.scene)) < 2]
    monkeypatch.setattr(Backbone, "of_foundation", of_foundation)
    stream = image_stream(Backbone(), data, 2)  # type: ignore[arg-type]
    assert not stream.lists.rows
    assert {TOKENIZER.decode(row.ids).count("<|im_start|> user") for row in stream.rows.rows} == {1}


def test_a_stage_shows_pairs_then_objects_then_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[set[int]] = []
    seen: list[list[list[int]]] = []

    def fit(name: str, model: object, loss: object, *_: object, **__: object) -> TrainingCost:
        for step in range(5):
            loss(step)  # type: ignore[operator]
        return TrainingCost(5, 20, 0.0, 0.0)

    def answer_loss(backbone: object, rows: list[Row], images: object) -> torch.Tensor:
        lengths.append({len(row.ids) for row in rows})
        seen.append([row.ids for row in rows])
        return torch.zeros(())

    monkeypatch.setattr(language, "fit", fit)
    monkeypatch.setattr(language, "answer_loss", answer_loss)
    data = SceneSet(world("scenes-nano", "by_answer"), "train", 48, 64, half=0)

    course = Course(5, torch.device("cpu"))
    for _ in range(2):
        language.train_language(Backbone(), data, Reading(4, 1e-3, pairs=2, objects=1), course)  # type: ignore[arg-type]
    assert lengths[:2] == [{4 * PAIRS}] * 2
    starts = [{TOKENIZER.decode(ids[:2]) for ids in rows} for rows in seen[:5]]
    assert starts[2:] == [{"<|im_start|> user"}] * 3
    asked = ["describe the objects" in (text := TOKENIZER.decode(ids)) or text.count("user") > 1 for ids in seen[2]]
    assert all(asked)
    known = {tuple(row.ids) for row in language.language_rows(Backbone(), data)}  # type: ignore[arg-type]
    assert all(tuple(ids) in known for rows in seen[3:5] for ids in rows)
    assert seen[:5] == seen[5:], "the same steps show the same rows"
