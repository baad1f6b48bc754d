"""The judge: exact on clean scenes, and worse on every kind of damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy import ndimage

from unimm.scenes.geneval_rules import evaluate_image
from unimm.scenes.judge import detect, to_objects
from unimm.scenes.render import render
from unimm.scenes.stream import SceneSample, scene_sample
from unimm.scenes.world import Scene, world

SIZES = {"scenes": 64, "scenes-nano": 32}


@lru_cache
def some(name: str, count: int = 120) -> list[tuple[SceneSample, np.ndarray]]:
    samples = [scene_sample(world(name), "validation", 5, i) for i in range(count)]
    return [(s, render(s.scene, SIZES[name])) for s in samples]


def is_exact(name: str, scene: Scene, image: np.ndarray) -> bool:
    found = Counter((d.shape, d.colour) for d in detect(image, world(name)))
    return found == Counter((i.shape, i.colour) for i in scene.items)


def exact_share(name: str, change: Callable[[np.ndarray], np.ndarray], count: int = 40) -> float:
    return float(np.mean([is_exact(name, s.scene, change(image)) for s, image in some(name)[:count]]))


def strict_share(name: str, change: Callable[[np.ndarray], np.ndarray], count: int = 60) -> float:
    here = world(name)
    return float(
        np.mean(
            [evaluate_image(to_objects(detect(change(image), here)), s.metadata)[0] for s, image in some(name)[:count]]
        )
    )


@pytest.mark.parametrize(("name", "least"), [("scenes", 1.0), ("scenes-nano", 0.97)])
def test_clean_scenes(name, least):
    assert exact_share(name, lambda image: image, 120) >= least
    assert strict_share(name, lambda image: image, 120) >= least


def test_boxes_lie_where_the_items_do():
    for sample, image in some("scenes")[:40]:
        for found in detect(image, world("scenes")):
            centre = (found.box[0] + found.box[2]) / 128, (found.box[1] + found.box[3]) / 128
            distances = [
                max(abs(centre[0] - i.x), abs(centre[1] - i.y))
                for i in sample.scene.items
                if (i.shape, i.colour) == (found.shape, found.colour)
            ]
            assert min(distances) < 3 / 64
            assert 0.6 <= found.score <= 1 + 1e-6


def blurred(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)).round().astype(np.uint8)


def noisy(level: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(image: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, 255 * level, image.shape)
        return (image + noise).clip(0, 255).round().astype(np.uint8)

    return change


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("damage", [blurred, noisy])
def test_score_falls_with_damage(name, damage):
    levels = (0.01, 0.15, 0.5) if damage is noisy else (0.3, 2.0, 6.0)
    shares = [exact_share(name, damage(level)) for level in levels]
    assert shares[0] >= 0.9, shares
    assert shares[0] >= shares[1] >= shares[2], shares
    assert shares[2] <= 0.2, shares


@pytest.mark.parametrize("name", list(SIZES))
def test_swapped_colours_are_seen(name):
    coloured = [(s, i) for s, i in some(name) if s.metadata["tag"] in ("colors", "color_attr")]
    here = world(name)
    for sample, _ in coloured:
        shift = dict(zip(here.colours, (*here.colours[1:], here.colours[0]), strict=True))
        swapped = Scene(tuple(replace(i, colour=shift[i.colour]) for i in sample.scene.items), sample.scene.background)
        found = to_objects(detect(render(swapped, SIZES[name]), here))
        assert not evaluate_image(found, sample.metadata)[0]


@pytest.mark.parametrize("name", list(SIZES))
def test_a_missing_item_is_seen(name):
    here = world(name)
    for sample, _ in some(name)[:60]:
        fewer = Scene(sample.scene.items[1:], sample.scene.background)
        found = to_objects(detect(render(fewer, SIZES[name]), here))
        assert not evaluate_image(found, sample.metadata)[0]


def test_an_empty_scene_shows_nothing():
    assert detect(render(Scene((), 0.5), 64), world("scenes")) == []


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="uint8"):
        detect(image, world("scenes"))
