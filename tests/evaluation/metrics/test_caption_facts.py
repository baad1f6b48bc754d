"""Descriptions read back: true captions are true, and every kind of mistake costs what it should."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unimm.evaluation.metric import Answered, Described, Evidence
from unimm.evaluation.metrics.understanding import Understanding, f1, read, truth
from unimm.scenes.captions import long_caption
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import Item, Scene, world

PAIR = Scene((Item("circle", "red", 0.2, 0.2, 0.1), Item("square", "blue", 0.8, 0.2, 0.2)), 0.5)
CIRCLE = "there is a small red circle in the top left of the image ."
SQUARE = "there is a large blue square in the top right of the image ."


@pytest.mark.parametrize("name", ["scenes", "scenes-nano"])
def test_true_captions_are_true_in_every_respect(name: str) -> None:
    here = world(name)
    for i in range(60):
        scene = scene_sample(here, "test", 4, i).scene
        caption = long_caption(scene, np.random.default_rng(i))
        found = truth(caption, scene)
        assert found == (1, 1, found.relations, True) and found.relations in (1, None)
        assert len(read(caption).objects) == len(scene.items)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (f"{CIRCLE} {SQUARE}", (1, 1, None, True)),
        (f"{SQUARE} {CIRCLE} the red circle is left of the blue square .", (1, 1, 1, True)),
        (f"{CIRCLE} {SQUARE} the red circle is above the blue square .", (1, 1, 0, True)),
        (f"{CIRCLE} {SQUARE} the red circle is left of the green star .", (1, 1, 0, True)),
        (CIRCLE, (2 / 3, 2 / 3, None, False)),
        (f"{CIRCLE} {CIRCLE} {SQUARE}", (4 / 5, 4 / 5, None, False)),
        (CIRCLE.replace("small", "large") + SQUARE, (1, 1, None, False)),
        (CIRCLE.replace("top left", "bottom left") + SQUARE, (1, 1 / 2, None, False)),
        (CIRCLE.replace("red", "green") + SQUARE, (1 / 2, 1 / 2, None, False)),
        ("a photo of two objects .", (0, 0, None, False)),
    ],
)
def test_mistakes_by_hand(description: str, expected: tuple[float, ...]) -> None:
    assert truth(description, PAIR) == pytest.approx(expected)


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        stated, shown = (Counter((str(v),) for v in rng.integers(0, 6, rng.integers(1, 8))) for _ in range(2))
        common = (stated & shown).total()
        precision, recall = common / stated.total(), common / shown.total()
        expected = 2 * precision * recall / (precision + recall) if common else 0
        assert f1(stated, shown) == pytest.approx(expected)


def test_scores_are_means_over_images() -> None:
    described = [Described(CIRCLE, PAIR), Described(f"{CIRCLE} {SQUARE}", PAIR)]
    evidence = Evidence(answers=[Answered("exists", True, 0.5, 0)], descriptions=described)
    scores = {s.name: s for s in Understanding(Understanding.Config(), None).score(evidence)}
    assert scores["descriptions/objects"].value == pytest.approx(5 / 6)
    assert scores["descriptions/exact"].items == [0, 1] and scores["descriptions/exact"].n == 2
    assert scores["descriptions/relations"].value is None and scores["descriptions/relations"].n == 0
