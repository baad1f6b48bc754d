"""Mean squared error plus cosine distance: the sum of both, whose optimum is the mean where tokens lie around it."""

from __future__ import annotations

import torch
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, Constant, fit

from unimm.noise import NoiseSource
from unimm.objectives.cosine import CosineDistance
from unimm.objectives.mse import MeanSquaredError
from unimm.objectives.mse_cosine import MseCosine

NOISE = NoiseSource(1, "t")


def test_the_loss_is_the_weighted_sum() -> None:
    head, latents = Constant(SHAPE[1]), GAUSSIAN.draw()
    arguments = (head, latents, CONDITIONS, NOISE, KEYS)
    both = MseCosine(MseCosine.Config(cosine_weight=0.3)).loss(*arguments)
    squares = MeanSquaredError(MeanSquaredError.Config()).loss(*arguments)
    torch.testing.assert_close(both, squares + 0.3 * CosineDistance(CosineDistance.Config()).loss(*arguments))


def test_training_reaches_the_mean_of_tokens_that_lie_around_it() -> None:
    """By symmetry the mean direction is the mean's, so that neither part pulls away from it."""
    tested, head, latents = MseCosine(MseCosine.Config(cosine_weight=2.0)), Constant(SHAPE[1]), GAUSSIAN.draw()
    fit(head, lambda: tested.loss(head, latents, CONDITIONS, NOISE, KEYS))
    samples = tested.sample(head, CONDITIONS, SHAPE, NOISE, KEYS)
    torch.testing.assert_close(samples[0, 0], latents.mean((0, 1)), atol=0.02, rtol=0)
    assert torch.equal(samples, tested.sample(head, CONDITIONS, SHAPE, NoiseSource(9, "u"), list("abcdefghijkl")))
