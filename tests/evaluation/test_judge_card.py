"""The judge's card: readings by hand, a perfect one on clean renders, worse ones as damage grows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.evaluation.judge_card import IMAGES, View, as_result, blur, judge_card, noise, view
from unimm.evaluation.metrics.geneval import find_objects
from unimm.scenes.judge import Detection
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import Item, Scene, world

NANO = world("scenes-nano")
SCENES = [scene_sample(NANO, "test", 3, i).scene for i in range(72)]


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    return torch.from_numpy(np.stack([render(scene, 64) for scene in SCENES])).permute(0, 3, 1, 2).contiguous()


def seen(images: torch.Tensor) -> View:
    return view(SCENES, find_objects(images, NANO), 64)


def accuracies(found: View) -> list[float]:
    return [reading.accuracy for reading in (found.shape, found.colour, found.count)]


def test_readings_by_hand() -> None:
    scene = Scene((Item("circle", "red", 0.25, 0.25, 0.1), Item("square", "blue", 0.75, 0.75, 0.1)), 0.5)
    on_circle = Detection("cross", "red", (10, 10, 22, 22), 0.9)
    weaker = Detection("circle", "green", (12, 12, 20, 20), 0.7)
    elsewhere = Detection("circle", "red", (40, 4, 52, 16), 0.8)
    found = view([scene, scene], [[on_circle, elsewhere, weaker], []], 64)
    assert found.shape.confusion == {("circle", "cross"): 1, ("circle", "nothing"): 1, ("square", "nothing"): 2}
    assert found.colour.confusion == {("red", "red"): 1, ("red", "nothing"): 1, ("blue", "nothing"): 2}
    assert found.count.confusion == {("2", "3"): 1, ("2", "0"): 1}
    assert (found.shape.accuracy, found.colour.accuracy, found.count.accuracy) == (0, 0.25, 0)
    assert found.surplus == 1


def test_clean_renders_are_read_without_a_mistake(real: torch.Tensor) -> None:
    found = seen(real)
    assert accuracies(found) == [1, 1, 1] and found.surplus == 0
    assert found.shape.confusion.total() == sum(len(scene.items) for scene in SCENES)


@pytest.mark.parametrize(("damage", "strengths"), [(blur, (1 / 64, 1 / 16, 1 / 8)), (noise, (0.05, 0.2, 0.5))])
def test_readings_get_worse_as_damage_grows(real, damage, strengths) -> None:
    measured = np.array([accuracies(seen(real)), *(accuracies(seen(damage(real, s))) for s in strengths)])
    assert (np.diff(measured, axis=0) <= 0).all(), measured
    assert (measured[-1] < 0.7).all(), measured


def test_the_card_has_every_view_and_repeats(real: torch.Tensor) -> None:
    card = judge_card(SCENES, {"real": real, "decoder": real.flip(-1)}, NANO)
    assert list(card) == ["real", "decoder", "blur 3%", "blur 6%", "noise 10%", "noise 20%"]
    assert card["decoder"].shape.accuracy < card["real"].shape.accuracy, "mirrored objects lie elsewhere"
    assert judge_card(SCENES, {"real": real, "decoder": real.flip(-1)}, NANO) == card


def test_many_images_are_thinned_evenly() -> None:
    scenes = SCENES[:2] * IMAGES
    images = torch.from_numpy(np.stack([render(s, 32) for s in SCENES[:2]])).permute(0, 3, 1, 2).repeat(IMAGES, 1, 1, 1)
    result = as_result(judge_card(scenes, {"real": images.contiguous()}, NANO))
    assert result["images"] == IMAGES
    assert result["views"]["real"]["count"]["accuracy"] == 1


def test_no_damage_at_strength_0_and_the_same_when_repeated(real: torch.Tensor) -> None:
    for damage in (blur, noise):
        assert torch.equal(damage(real, 0.0), real)
        assert torch.equal(damage(real, 0.1), damage(real, 0.1))
        assert damage(real, 0.1).dtype == torch.uint8
