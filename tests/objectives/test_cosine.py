"""Cosine distance: blind to length, zero for the right direction, samples of a fixed length."""

from __future__ import annotations

import pydantic
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.components import Head
from unimm.noise import NoiseSource
from unimm.objectives.cosine import CosineDistance

NOISE = NoiseSource(0, "t")


class Fixed(Head):
    """Returns its conditions, one for each token, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, noisy, time, conditions):
        assert not noisy.any()
        assert not time.any()
        return self.factor * conditions


def loss(head: Head, latents: torch.Tensor, conditions: torch.Tensor) -> float:
    return float(CosineDistance(CosineDistance.Config()).loss(head, latents, conditions, NOISE, range(len(latents))))


@settings(deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_the_loss_sees_directions_only(factor, seed):
    generator = torch.Generator().manual_seed(seed)
    latents, conditions = (torch.randn(2, 3, 5, generator=generator) for _ in range(2))
    plain = loss(Fixed(), latents, conditions)
    assert 0 <= plain <= 2
    assert loss(Fixed(factor), latents, conditions) == pytest.approx(plain, abs=1e-5)
    assert loss(Fixed(factor), latents, latents) == pytest.approx(0, abs=1e-5)
    assert loss(Fixed(-factor), latents, latents) == pytest.approx(2, abs=1e-5)


def test_known_angles():
    latents = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    conditions = torch.tensor([[[0.0, 3.0], [2.0, 0.0]]])
    assert loss(Fixed(), latents, conditions) == pytest.approx(0.5)


@settings(deadline=None)
@given(st.floats(0.1, 10))
def test_samples_have_the_length_that_is_set(rms):
    objective = CosineDistance(CosineDistance.Config(rms=rms))
    conditions = torch.randn(2, 3, 7)
    samples = objective.sample(Fixed(5.0), conditions, (3, 7), NOISE, range(2))
    torch.testing.assert_close(samples.square().mean(-1).sqrt(), torch.full((2, 3), rms), rtol=1e-4, atol=1e-4)
    assert objective.deterministic
    again = objective.sample(Fixed(5.0), conditions, (3, 7), NoiseSource(9, "u"), ["a", "b"])
    assert torch.equal(samples, again)


def test_gradients_reach_the_head():
    conditions = torch.randn(2, 3, 7, requires_grad=True)
    CosineDistance(CosineDistance.Config()).loss(Fixed(), torch.randn(2, 3, 7), conditions, NOISE, [0, 1]).backward()
    assert conditions.grad is not None
    assert bool((conditions.grad.abs().amax(-1) > 0).all())


def test_the_length_is_positive():
    with pytest.raises(pydantic.ValidationError):
        CosineDistance.Config(rms=0)
