"""Atoms: each part of a prompt scored alone."""

from __future__ import annotations

from typing import Any

import pytest

from unimm.scenes.atoms import atoms
from unimm.scenes.judge import Detection, detect
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import WORLDS

LEFT = (0.0, 20.0, 10.0, 30.0)
RIGHT = (40.0, 20.0, 50.0, 30.0)
POSITION: dict[str, Any] = {
    "tag": "position",
    "include": [{"class": "star", "count": 1}, {"class": "ring", "count": 1, "position": ["left of", 0]}],
}


def seen(shape: str, colour: str = "red", box: tuple[float, float, float, float] = LEFT) -> Detection:
    return Detection(shape, colour, box, 0.9)


def test_clean_renders_have_full_atoms() -> None:
    world = WORLDS["scenes"]
    for index in range(60):
        sample = scene_sample(world, "test", 5, index)
        scores = atoms(detect(render(sample.scene, 64), world), sample.metadata)
        assert set(scores.values()) == {1.0}
        assert {"object", "shape", "count"} <= set(scores)
        assert ("colour" in scores) == (sample.metadata["tag"] in ("colors", "color_attr"))
        assert ("relation" in scores) == (sample.metadata["tag"] == "position")


def test_nothing_found_scores_zero() -> None:
    assert atoms([], POSITION) == {"object": 0, "shape": 0, "count": 0, "relation": 0}


def test_counting_gives_partial_credit_for_objects_and_shapes() -> None:
    metadata = {"include": [{"class": "star", "count": 4}], "exclude": [{"class": "star", "count": 5}]}
    found = [seen("star"), seen("star"), seen("ring")]
    assert atoms(found, metadata) == {"object": 0.75, "shape": 0.5, "count": 0.0}
    assert atoms([*found, seen("heart"), seen("heart")], metadata) == {"object": 1.0, "shape": 0.5, "count": 0.0}


def test_colours_count_apart_from_shapes() -> None:
    metadata = {
        "include": [{"class": "star", "count": 1, "color": "red"}, {"class": "ring", "count": 1, "color": "blue"}]
    }
    swapped = atoms([seen("star", "blue"), seen("ring", "red")], metadata)
    assert swapped == {"object": 1.0, "shape": 1.0, "count": 1.0, "colour": 1.0}
    assert atoms([seen("star"), seen("ring")], metadata)["colour"] == 0.5


@pytest.mark.parametrize(("star", "ring", "expected"), [(RIGHT, LEFT, 1.0), (LEFT, RIGHT, 0.0), (LEFT, LEFT, 0.0)])
def test_relation(star: tuple[float, ...], ring: tuple[float, ...], expected: float) -> None:
    found = [Detection("star", "red", star, 0.9), Detection("ring", "red", ring, 0.9)]  # type: ignore[arg-type]
    assert atoms(found, POSITION)["relation"] == expected


def test_relation_needs_both_shapes_but_only_one_pair() -> None:
    assert atoms([seen("ring", box=LEFT), seen("heart", box=RIGHT)], POSITION)["relation"] == 0
    three = [seen("star", box=LEFT), seen("star", box=RIGHT), seen("ring", box=LEFT)]
    assert atoms(three, POSITION)["relation"] == 1


def test_removing_objects_lowers_every_atom_that_reads_them() -> None:
    metadata = {"include": [{"class": "star", "count": 3, "color": "red"}]}
    scores = [atoms([seen("star")] * number, metadata) for number in (3, 2, 1, 0)]
    for name in ("object", "shape", "colour"):
        values = [entry[name] for entry in scores]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 4
