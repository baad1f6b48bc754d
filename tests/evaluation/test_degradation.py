"""What metrics compute with worsens with damage, step by step, and says the same when it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from degrade import blur, drop_objects, noise, repeat_first, stack, swap_colours
from torch import Tensor

from unimm.evaluation.features import FeatureExtractor
from unimm.evaluation.metrics.clip_score import r_precision
from unimm.evaluation.metrics.geneval import find_objects
from unimm.evaluation.statistics import (
    coverage,
    frechet_distance,
    identical_images,
    inside_balls,
    kernel_distance,
    vendi_within_prompts,
)
from unimm.scenes.render import render
from unimm.scenes.stream import SceneSample, scene_sample
from unimm.scenes.world import world

HERE = world("scenes-nano")
LEVELS = (0.0, 0.2, 0.5, 1.0)
Damage = Callable[[Tensor, float], Tensor]
DAMAGES: dict[str, Damage] = {
    "blur": blur,
    "noise": noise,
    "colour swap": swap_colours,
    "object drop": partial(drop_objects, world=HERE),
}


@lru_cache
def samples(count: int, seed: int) -> list[SceneSample]:
    return [scene_sample(HERE, "test", seed, i) for i in range(count)]


@lru_cache
def images(count: int = 160, seed: int = 1) -> Tensor:
    return stack([render(sample.scene, 32) for sample in samples(count, seed)])


@lru_cache
def extractor() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(16, 4).eval()


@torch.inference_mode()
def features(batch: Tensor) -> np.ndarray:
    return extractor()(batch.float() / 255).double().numpy()


def worsens(values: list[float], least: float = 0) -> bool:
    """Whether no step goes up and the whole falls by more than ``least``."""
    return all(b <= a for a, b in pairwise(values)) and values[0] - values[-1] > least


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("damage", DAMAGES)
def test_distances_grow(distance, damage):
    reference = features(images(seed=2))
    values = [distance(features(DAMAGES[damage](images(), level)), reference) for level in LEVELS]
    assert worsens([-value for value in values], values[0] / 2), values
    assert values[-1] == distance(features(DAMAGES[damage](images(), 1.0)), reference)


@pytest.mark.parametrize("damage", DAMAGES)
def test_coverage_falls(damage):
    reference = features(images(seed=2))
    measured = [coverage(inside_balls(features(DAMAGES[damage](images(), level)), reference)) for level in LEVELS]
    assert worsens(measured, 0.04), measured
    assert measured[-1] == coverage(inside_balls(features(DAMAGES[damage](images(), 1.0)), reference))


def bag(objects: list[tuple[str, str]]) -> np.ndarray:
    """How often each shape, colour and coloured shape is there: an embedding that images and scenes share."""
    words = [*HERE.shapes, *HERE.colours, *((shape, colour) for shape in HERE.shapes for colour in HERE.colours)]
    there = [word for shape, colour in objects for word in (shape, colour, (shape, colour))]
    return np.array([1.0, *(there.count(word) for word in words)])


@lru_cache
def distinct() -> dict[bytes, int]:
    """Every distinct content to the number of a scene that has it."""
    return {bag([(i.shape, i.colour) for i in s.scene.items]).tobytes(): n for n, s in enumerate(samples(160, 1))}


def retrieval(damage: Damage, level: float):
    prompts = np.stack([np.frombuffer(content) for content in distinct()])
    chosen = damage(images()[list(distinct().values())], level)
    found = find_objects(chosen, HERE)
    embedded = np.stack([bag([(d.shape, d.colour) for d in detections]) for detections in found])
    return r_precision(embedded, prompts, range(len(prompts)), seed=0, distractors=50)


@pytest.mark.parametrize("damage", DAMAGES)
def test_r_precision_falls(damage):
    measured = [retrieval(DAMAGES[damage], level) for level in LEVELS]
    assert measured[0].value > 0.9
    assert worsens([result.value for result in measured], 0.4), measured
    assert measured[-1] == retrieval(DAMAGES[damage], 1.0)


def test_vendi_falls_as_images_repeat():
    reference = features(images(seed=2)).mean(axis=0, keepdims=True)
    values = [vendi_within_prompts(features(repeat_first(images(16), n))[None], reference).value for n in LEVELS]
    assert worsens(values, 1), values
    assert values[-1] == pytest.approx(1, abs=1e-4)


def test_only_a_full_collapse_is_identical():
    measured = [identical_images(repeat_first(images(16), level)[None]).everywhere for level in LEVELS]
    assert measured == [False, False, False, True]


@pytest.mark.parametrize("damage", [*DAMAGES.values(), repeat_first])
def test_damage_repeats_and_level_0_is_none(damage):
    assert torch.equal(damage(images(16), 0.0), images(16))
    assert torch.equal(damage(images(16), 0.7), damage(images(16), 0.7))
    assert damage(images(16), 0.7).dtype == torch.uint8
