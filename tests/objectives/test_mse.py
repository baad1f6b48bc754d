"""Regression: blank inputs to the head, exact loss, and samples that no noise changes."""

from __future__ import annotations

import torch

from unimm.components import Head
from unimm.noise import NoiseSource
from unimm.objectives.mse import MeanSquaredError


class Mean(Head):
    def forward(self, noisy, time, conditions):
        assert not noisy.any()
        assert not time.any()
        return noisy + conditions.mean((1, 2))[:, None, None]


OBJECTIVE = MeanSquaredError(MeanSquaredError.Config())


def test_loss_is_the_mean_squared_error():
    latents, conditions = torch.randn(4, 3, 2), torch.randn(4, 5, 6)
    loss = OBJECTIVE.loss(Mean(), latents, conditions, NoiseSource(0, "t"), range(4))
    torch.testing.assert_close(loss, (conditions.mean((1, 2))[:, None, None] - latents).square().mean())
    assert loss.dtype == torch.float32


def test_perfect_prediction_has_no_loss():
    conditions = torch.randn(4, 5, 6)
    latents = conditions.mean((1, 2))[:, None, None].expand(4, 3, 2)
    assert float(OBJECTIVE.loss(Mean(), latents, conditions, NoiseSource(0, "t"), range(4))) == 0


def test_samples_ignore_noise_and_keys():
    conditions = torch.randn(4, 5, 6)
    one = OBJECTIVE.sample(Mean(), conditions, (3, 2), NoiseSource(0, "t"), range(4))
    two = OBJECTIVE.sample(Mean(), conditions, (3, 2), NoiseSource(9, "u", 5), list("abcd"))
    assert one.shape == (4, 3, 2)
    assert torch.equal(one, two)
    assert MeanSquaredError.deterministic
