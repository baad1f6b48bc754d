"""Judges tried on pictures whose content is known: exact ones pass, planted errors show where they were planted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.io import write_png
from typer.testing import CliRunner

from unimm.analysis.judging import failures
from unimm.cli import app
from unimm.evaluation import benchmark
from unimm.evaluation.benchmark import evaluators_cards
from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.fact_card import agreement, try_evaluator, try_judge
from unimm.evaluation.labelled import Labelled, Thing, facts_of, kinds_of, labelled_scenes, read_labels
from unimm.evaluation.words import card_of
from unimm.foundation.folder import Foundation
from unimm.scenes.prompts import Metadata
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import world

NANO = world("scenes-nano")
EVERY_KIND = ["object", "count", "colour", "relation"]
Objects = dict[str, list[list[Any]]]


class Planted(Scenes):
    """The scenes' judge with a mistake planted into what it found."""

    def __init__(self, name: str, mistake: Callable[[Objects], Objects]) -> None:
        super().__init__(Scenes.Config(world="scenes-nano"))
        self.name, self.mistake = name, mistake

    def detect(self, images: torch.Tensor) -> list[Objects]:
        return [self.mistake(objects) for objects in super().detect(images)]


def blind(objects: Objects) -> Objects:
    return {}


def one_colour(objects: Objects) -> Objects:
    return {name: [[*box[:5], "red"] for box in boxes] for name, boxes in objects.items()}


def mirrored(objects: Objects) -> Objects:
    return {n: [[64 - b[2], 64 - b[3], 64 - b[0], 64 - b[1], *b[4:]] for b in boxes] for n, boxes in objects.items()}


def doubled(objects: Objects) -> Objects:
    return {name: [box for box in boxes for _ in range(2)] for name, boxes in objects.items()}


def everything(objects: Objects) -> Objects:
    ghost = [1.0, 1.0, 3.0, 3.0, 0.1, "red"]
    return {shape: objects.get(shape, []) or [ghost] for shape in NANO.shapes}


@pytest.fixture(scope="module")
def scenes() -> Labelled:
    return labelled_scenes(NANO, 64)


def test_the_exact_judge_makes_no_mistake_on_scenes(scenes: Labelled) -> None:
    card = try_judge(Scenes(Scenes.Config(world="scenes-nano")), scenes, EVERY_KIND).card
    assert list(card.kinds) == EVERY_KIND
    assert {kind: read.accuracy for kind, read in card.kinds.items()} == dict.fromkeys(EVERY_KIND, 1.0)
    assert all(read.true == read.false for read in card.kinds.values()), "as many false facts as true ones"
    assert failures(card) == []
    thresholds = {row.threshold: row.others for row in card.thresholds}
    assert thresholds[0.1] == 1.0 and (thresholds[0.9] or 0) <= 1.0


class Reader:
    """A CLIP by whose cosine a caption fits as a judge says, which a mistake is planted into.

    Captions that are stated of an object and of a count alike are right in half if they are so in one of the two.
    """

    name = "reader"

    def __init__(self, labelled: Labelled, mistake: Callable[[Objects], Objects]) -> None:
        self.judge = Planted(self.name, mistake)
        self.meanings: dict[str, list[Metadata]] = {}
        for fact in labelled.facts:
            own = self.meanings.setdefault(str(fact.prompt["prompt"]), [])
            own += [] if fact.prompt in own else [fact.prompt]

    def cosines(self, images: torch.Tensor, texts: Sequence[str], which: Sequence[int]) -> list[float]:
        found = [
            self.judge.fulfilled(images, own := self.meanings[text], [number] * len(own))
            for text, number in zip(texts, which, strict=True)
        ]
        return [sum(fits) / len(fits) for fits in found]


def test_a_clip_that_reads_captions_beats_every_changed_one(scenes: Labelled) -> None:
    card = try_evaluator(Reader(scenes, lambda found: found), scenes, EVERY_KIND).card
    assert {kind: read.accuracy for kind, read in card.kinds.items()} == dict.fromkeys(EVERY_KIND, 1.0)
    assert all(read.true == read.false > 20 for read in card.kinds.values()), "a pair has one of each"
    assert failures(card) == [] and card.thresholds == []


@pytest.mark.parametrize(
    ("mistake", "wrong"),
    [
        (blind, EVERY_KIND),
        (one_colour, ["colour"]),
        (mirrored, ["relation"]),
        (doubled, ["count"]),
        (everything, ["object"]),
    ],
)
def test_a_mistake_planted_into_a_clip_shows_in_its_kind_alone(
    scenes: Labelled, mistake: Callable[[Objects], Objects], wrong: list[str]
) -> None:
    """It then does no better than a guess, which equal cosines are."""
    card = try_evaluator(Reader(scenes, mistake), scenes, EVERY_KIND).card
    assert [found.split()[0] for found in failures(card)] == wrong
    assert all(card.kinds[kind].accuracy < 0.6 for kind in wrong)


def test_the_shipped_evaluators_read_colours_and_nothing_else() -> None:
    """On 120 scenes they have 0.95 and 0.94 of colours, 0.50 and 0.56 of objects, 0.33 and 0.32 of counts."""
    cards = evaluators_cards(Foundation("scenes-nano"), EVERY_KIND)
    assert set(cards) == {card_of(score) for score in ("clip_score/a", "r_precision/b")}
    for card in cards.values():
        assert card.source == "120 test scenes of scenes-nano at 64 pixels" and card.needed == EVERY_KIND
        assert [found.split()[0] for found in failures(card)] == ["object", "count", "relation"]


def test_a_blind_evaluator_of_a_foundation_fails_and_one_that_reads_passes(
    scenes: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"evaluator a": Reader(scenes, blind), "evaluator b": Reader(scenes, lambda found: found)}
    monkeypatch.setattr(benchmark, "evaluators", lambda foundation: planted)
    cards = evaluators_cards(Foundation("scenes-nano"), ["object", "colour"])
    assert failures(cards["evaluator a"]) == ["object 0.50", "colour 0.50"]
    assert failures(cards["evaluator b"]) == []


@pytest.mark.parametrize(
    ("mistake", "wrong", "misses", "false_finds"),
    [
        (blind, EVERY_KIND, 1.0, 0.0),
        (one_colour, ["colour"], None, None),
        (mirrored, ["relation"], 1.0, 1.0),
        (doubled, ["count"], 1.0, None),
        (everything, ["object"], 0.0, 1.0),
    ],
)
def test_a_planted_error_shows_in_its_kind_alone(
    scenes: Labelled, mistake: Callable[[Objects], Objects], wrong: list[str], misses: float, false_finds: float
) -> None:
    card = try_judge(Planted("planted", mistake), scenes, EVERY_KIND).card
    assert [found.split()[0] for found in failures(card)] == wrong
    read = card.kinds[wrong[0]]
    assert misses is None or read.missed == misses
    assert false_finds is None or read.false_finds == false_finds


def test_judges_that_differ_in_one_kind_agree_less(scenes: Labelled) -> None:
    exact, again, mirror = (
        try_judge(Planted(name, mistake), scenes)
        for name, mistake in (("a", lambda found: found), ("b", lambda found: found), ("c", mirrored))
    )
    assert agreement([exact, again]) == 1
    assert 0 < (agreement([exact, mirror]) or 0) < 0.9


def test_facts_by_hand() -> None:
    dog, cat = (
        Thing.model_validate({"class": name, "color": colour, "box": box})
        for name, colour, box in (("dog", "brown", [0, 0, 10, 10]), ("cat", "black", [30, 0, 40, 10]))
    )
    bird = Thing.model_validate({"class": "bird"})
    facts = facts_of([(0, [dog, cat]), (1, [bird, bird])])
    said = {(fact.picture, fact.prompt["prompt"]): fact.true for fact in facts}
    assert said[0, "a photo of a dog"] and not said[0, "a photo of a bird"]
    assert said[0, "a photo of a brown dog"] and not said[0, "a photo of a black dog"]
    assert said[0, "a photo of a dog left of a cat"] and not said[0, "a photo of a dog right of a cat"]
    assert said[1, "a photo of two birds"] and not said[1, "a photo of a bird"]
    assert said[1, "a photo of a dog"] is False
    counted = next(f.prompt for f in facts if f.prompt["prompt"] == "a photo of two birds")
    assert (counted["include"], counted["exclude"]) == (
        [{"class": "bird", "count": 2}],
        [{"class": "bird", "count": 3}],
    )
    assert kinds_of([counted]) == ["object", "count"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Scenes as a user's folder: the first half larger than the rest."""
    lines = []
    for number in range(24):
        scene = scene_sample(NANO, "test", 3, number).scene
        side = 96 if number < 12 else 64
        from unimm.scenes.render import render

        image = torch.from_numpy(render(scene, side)).permute(2, 0, 1).contiguous()
        write_png(image, str(tmp_path / f"{number}.png"))
        objects = [{"class": i.shape, "color": i.colour, "box": [side * edge for edge in i.box]} for i in scene.items]
        lines.append(json.dumps({"file": f"{number}.png", "objects": objects}))
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    return tmp_path / "labels.jsonl"


def test_a_labelled_folder_gives_a_card_and_two_judges_their_agreement(labels: Path) -> None:
    out = labels.parent / "cards.json"
    judge = ["--detector", "scenes world=scenes-nano"]
    done = CliRunner().invoke(app, ["judge", str(labels.parent), "--labels", str(labels), *judge, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "scenes-judge on 24 pictures by labels.jsonl" in done.output
    kinds = json.loads(out.read_text())["cards"]["scenes-judge"]["kinds"]
    assert kinds["object"]["accepted"] == kinds["object"]["true"] and kinds["object"]["found"] == 0
    twice = CliRunner().invoke(app, ["judge", "--scenes", "scenes-nano", *judge, *judge])
    assert twice.exit_code == 2 and "two judges are called scenes-judge" in twice.stderr


def test_a_clip_is_tried_beside_a_judge(labels: Path, checkpoint: Callable[[str], Path]) -> None:
    asked = ["judge", str(labels.parent), "--labels", str(labels)]
    clip = ["--clip", f"open_clip:{checkpoint('colours_clip')}"]
    out = labels.parent / "cards.json"
    done = CliRunner().invoke(app, [*asked, *clip, "--detector", "scenes world=scenes-nano", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "open_clip/colours_clip on 24 pictures by labels.jsonl" in done.output and ": fails (" in done.output
    found = json.loads(out.read_text())
    assert found["cards"]["open_clip/colours_clip"]["thresholds"] == []
    assert found["agreement"][0]["judges"] == ["scenes-judge", "open_clip/colours_clip"]
    for options, said in (
        ([*clip, *clip], "two judges are called open_clip/colours_clip"),
        ([], "--detector or --clip"),
    ):
        refused = CliRunner().invoke(app, [*asked, *options])
        assert refused.exit_code == 2 and said in refused.stderr


def test_larger_pictures_are_shrunk_to_the_side_that_runs_have(labels: Path) -> None:
    assert {tuple(image.shape[1:]) for image in read_labels(labels.parent, labels).pictures} == {(96, 96), (64, 64)}
    shown = read_labels(labels.parent, labels, 64)
    assert {tuple(image.shape[1:]) for image in shown.pictures} == {(64, 64)}
    card = try_judge(Scenes(Scenes.Config(world="scenes-nano")), shown).card
    assert card.kinds["object"].accuracy == 1


def test_what_people_decided_of_whole_prompts_is_a_kind_of_its_own(labels: Path) -> None:
    prompt = {"tag": "single_object", "include": [{"class": "circle", "count": 1}], "prompt": "a photo of a circle"}
    shows = [
        any(o["class"] == "circle" for o in json.loads(line)["objects"]) for line in labels.read_text().split("\n")
    ]
    rows = [json.dumps({"file": f"{n}.png", "correct": shown, **prompt}) for n, shown in enumerate(shows)]
    labels.write_text("\n".join(rows))
    card = try_judge(Scenes(Scenes.Config(world="scenes-nano")), read_labels(labels.parent, labels)).card
    assert list(card.kinds) == ["prompt"] and card.kinds["prompt"].accuracy == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "0.png"}', "line 1: tag: Field required.*give file and objects, or file, correct and GenEval's"),
        ('{"file": "9.png", "objects": [{"class": "dog"}]}', "no picture '9.png'"),
        ('{"file": "../0.png", "objects": [{"class": "dog"}]}', "no picture '../0.png'"),
        ('{"file": "0.png", "objects": [{"class": "dog", "colour": "red"}]}', "line 1: objects.0.colour"),
        (
            '{"file": "0.png", "objects": [{"class": "dog", "box": [9, 9, 4, 4]}]}',
            "box: .*give corners .x1, y1, x2, y2",
        ),
        ('{"file": "0.png", "objects": []}\n{"file": "0.png", "objects": []}', "two lines list the objects of '0.png'"),
        ("", "no labels; write one line of JSON"),
    ],
)
def test_mistakes_in_labels_say_the_line(tmp_path: Path, line: str, message: str) -> None:
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / "0.png"))
    (tmp_path / "labels.jsonl").write_text(line)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path, tmp_path / "labels.jsonl")


def test_labels_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent: no such file of labels"):
        read_labels(tmp_path, tmp_path / "absent")


def test_whole_prompts_say_nothing_of_a_clip(labels: Path) -> None:
    prompt = {"tag": "single_object", "include": [{"class": "circle", "count": 1}], "prompt": "a photo of a circle"}
    labels.write_text("\n".join(json.dumps({"file": f"{n}.png", "correct": n % 2 == 0, **prompt}) for n in range(4)))
    decided = read_labels(labels.parent, labels)
    with pytest.raises(ValueError, match="no captions that differ in one fact: label the pictures' objects"):
        try_evaluator(Reader(decided, blind), decided)


def test_labels_that_a_judge_has_no_word_for_are_refused(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / f"{name}.png"))
    lines = [{"file": f"{name}.png", "objects": [{"class": name}]} for name in ("dog", "cat")]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match="scenes-judge knows no dog, cat"):
        try_judge(Scenes(Scenes.Config()), read_labels(tmp_path, tmp_path / "labels.jsonl"))
