"""Alignment with a tower: flow matching's loss plus the cosine's, through states of the head, on the tower's grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from unimm.components import Head, LatentSpec
from unimm.heads.dit import DiffusionTransformer
from unimm.heads.linear import LinearHead
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.objectives.repa import Repa

KEYS, NOISE = range(3), NoiseSource(1, "t")
TARGET, TOWER = LatentSpec(4, 5, (2, 2), "target"), LatentSpec(4, 6, (2, 2), "tower")


def build(**changes: Any) -> tuple[Repa, Head]:
    tested = Repa(Repa.Config(**{"layer": 1, "weight": 0.3, "shift": 1.0} | changes))
    torch.manual_seed(0)
    head = DiffusionTransformer(DiffusionTransformer.Config(width=32, layers=2, heads=2), 5, (2, 2), 8)
    tested.equip(head, TARGET, TOWER)
    return tested, head


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 4, 11, generator=generator), torch.randn(3, 2, 8, generator=generator)


def test_the_loss_is_flow_matching_s_and_the_cosine_to_the_tower_s_tokens() -> None:
    (tested, head), (latents, conditions) = build(), batch()
    plain = FlowMatching(FlowMatching.Config(shift=1.0)).loss(head, latents[..., :5], conditions, NOISE, KEYS)
    states = head.for_training.states  # of that pass, which the same noise and times went into
    predicted = head.for_training.project(states)
    expected = plain + 0.3 * (1 - F.cosine_similarity(predicted, latents[..., 5:], dim=-1).mean())
    torch.testing.assert_close(tested.loss(head, latents, conditions, NOISE, KEYS), expected)
    assert states.shape == (3, 4, 32)


def test_alignment_trains_the_head_up_to_its_block_and_the_perceptron() -> None:
    (tested, head), (latents, conditions) = build(weight=1e6), batch()
    tested.loss(head, latents, conditions, NOISE, KEYS).backward()
    layers = head.model.layers
    first, second = (float(layer.feed_forward.linear_1.weight.grad.abs().max()) for layer in layers)
    assert first > 1e3 * second > 0
    assert all(p.grad is not None for p in head.for_training.parameters())


def test_sampling_needs_no_tower() -> None:
    (tested, head), (_, conditions) = build(steps=2), batch()
    plain = FlowMatching(FlowMatching.Config(shift=1.0, steps=2))
    samples = tested.sample(head, conditions, (4, 5), NOISE, KEYS)
    assert torch.equal(samples, plain.sample(head, conditions, (4, 5), NOISE, KEYS))


def test_what_cannot_be_compared_is_refused() -> None:
    tested, head = build()
    with pytest.raises(ValueError, match=r"objective.tower=clip has a grid of \(2, 2\), the target one of \(4, 4\)"):
        tested.equip(head, LatentSpec(16, 5, (4, 4), "target"), TOWER)
    with pytest.raises(ValueError, match=r"objective.layer=3, but DiffusionTransformer has 2 blocks"):
        build(layer=3)
    linear = LinearHead(LinearHead.Config(), 5, (2, 2), 8)
    with pytest.raises(ValueError, match=r"LinearHead has 0 blocks"):
        tested.equip(linear, TARGET, TOWER)
    assert tested.tower.name == "clip" and FlowMatching(FlowMatching.Config()).tower is None
