"""The order of training and the sets held in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.data.mixture import Mixture
from unimm.data.scenes import Scenes, SceneSet, batch_indices
from unimm.data.source import Context
from unimm.scenes.world import FAMILIES, world

NANO = world("scenes-nano")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 40), batch=st.integers(1, 60))
def test_every_epoch_is_a_permutation(seed, size, batch):
    steps = -(-3 * size // batch)
    stream = torch.cat([batch_indices(seed, step, batch, size) for step in range(steps)])[: 3 * size]
    for epoch in stream.view(3, size):
        assert sorted(epoch.tolist()) == list(range(size))


def test_epochs_and_seeds_differ():
    orders = {tuple(batch_indices(seed, step, 50, 50).tolist()) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    step=st.integers(0, 20),
    part=st.integers(1, 8),
    ranks=st.integers(1, 8),
    size=st.just(29),
)
def test_world_size_changes_nothing(seed, step, part, ranks, size):
    whole = batch_indices(seed, step, part * ranks, size)
    parts = [batch_indices(seed, step * ranks + rank, part, size) for rank in range(ranks)]
    assert torch.equal(whole, torch.cat(parts))


def test_halves_are_disjoint_and_balanced():
    halves = [SceneSet(NANO, "train", 24, 32, half=half) for half in (0, 1)]
    signatures = [{s.scene.signature() for s in half.samples} for half in halves]
    assert not signatures[0] & signatures[1]
    whole = SceneSet(NANO, "train", 48, 32)
    assert signatures[0] | signatures[1] == {s.scene.signature() for s in whole.samples}
    for half in halves:
        assert [s.metadata["tag"] for s in half.samples] == list(FAMILIES) * 4
    assert len({whole.name, *(h.name for h in halves)}) == 3


@pytest.mark.parametrize("size", [1, 5, 12, 40])
def test_batches_cover_all_images(size):
    scenes = SceneSet(NANO, "train", 12, 32)
    assert scenes.pixels.shape == (12, 3, 32, 32)
    assert scenes.pixels.dtype == torch.uint8
    joined = torch.cat(list(scenes.batches(size)))
    assert torch.equal(joined, scenes.images(torch.arange(12)))
    assert 0 <= float(joined.min()) < float(joined.max()) <= 1


@pytest.mark.parametrize("resolution", [None, 40])
def test_the_source_has_the_side_that_it_is_told(resolution):
    context = Context(NANO, 16, 6)
    source = Scenes.build(Scenes.Config(resolution=resolution), context)
    part = {"weight": 1, "source": "scenes"}
    mixture = Mixture.build(Mixture.Config(parts=[part, part], resolution=resolution), context)
    side = resolution or 16
    assert source.resolution == mixture.resolution == side
    assert source.image(0).shape == mixture.image(7).shape == (3, side, side)
    assert f"@{side}/" in source.name
    assert f"@{side}/" in mixture.name


def test_scenes_that_memory_would_not_hold_are_rendered_when_they_are_looked_at(monkeypatch):
    kept = SceneSet(NANO, "train", 12, 32)
    monkeypatch.setattr("unimm.data.scenes.KEPT_BYTES", 12 * 3 * 32**2 - 1)
    rendered = SceneSet(NANO, "train", 12, 32)
    assert kept.name == rendered.name
    assert torch.equal(torch.cat(list(rendered.batches(5))), torch.cat(list(kept.batches(5))))
    assert torch.equal(Scenes(rendered).image(7), kept.pixels[7])
    assert "pixels" not in vars(rendered)
