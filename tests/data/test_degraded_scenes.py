"""Degraded scenes: the same scenes and captions, other pixels, still readable."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.data.degraded_scenes import READABLE, DegradedScenes
from unimm.data.scenes import Scenes, SceneSet, training_scenes
from unimm.data.source import Context
from unimm.registry import sources
from unimm.scenes.world import world

NANO = world("scenes-nano")
CONTEXT = Context(NANO, 64, 240)


@lru_cache
def opened(strength: float = 1.0) -> DegradedScenes:
    return DegradedScenes.build(DegradedScenes.Config(strength=strength), CONTEXT)


def test_only_the_pixels_differ() -> None:
    clean, degraded = Scenes.build(Scenes.Config(), CONTEXT), opened()
    assert sources.get("degraded_scenes") is DegradedScenes
    assert len(clean) == len(degraded) and clean.name != degraded.name
    for index in range(0, 240, 17):
        assert clean.key(index) == degraded.key(index)
        assert clean.texts(index) == degraded.texts(index)
        assert not torch.equal(clean.image(index), degraded.image(index))
    assert clean.order(3, 0, 480).tolist() == degraded.order(3, 0, 480).tolist()


@settings(max_examples=20, deadline=None)
@given(index=st.integers(0, 239), seed=st.integers(0, 3))
def test_an_image_is_a_function_of_seed_and_index(index: int, seed: int) -> None:
    first, again, other = (DegradedScenes(training_scenes(NANO, 240, 64), 1.0, s) for s in (seed, seed, seed + 1))
    again.image(0)
    assert torch.equal(first.image(index), again.image(index))
    assert not torch.equal(first.image(index), other.image(index))


def test_batches_are_the_images_in_order() -> None:
    small = DegradedScenes(SceneSet(NANO, "train", 12, 32, half=0), 1.0, 0)
    joined = torch.cat(list(small.batches(5)))
    assert torch.equal(joined, torch.stack([small.image(i) for i in range(12)]).float() / 255)


def test_the_judge_reads_most_and_fewer_as_strength_grows() -> None:
    """Measured on the first 240 training scenes: 1.00 at strengths 0.5 and 1, 0.95 at 1.5, 0.79 at 2."""
    shares = [opened(strength).readable for strength in (0.5, 1.0, 2.0)]
    assert shares[0] >= shares[1] >= 0.95
    assert READABLE < shares[2] < 0.9
    assert opened().parts() == [{"name": opened().name, "samples": 240, "readable": shares[1]}]


def test_stronger_is_farther_from_the_clean_render() -> None:
    clean = training_scenes(NANO, 240, 64).pixels[:24].float()
    far = [
        float((torch.stack([opened(s).image(i).float() for i in range(24)]) - clean).abs().mean())
        for s in (0.25, 0.5, 1.0)
    ]
    assert 0 < far[0] < far[1] < far[2]


def test_a_strength_that_hides_the_content_is_refused() -> None:
    with pytest.raises(ValueError, match=r"source.strength=4 leaves \d+% of the scenes readable.*lower it"):
        opened(4.0)
