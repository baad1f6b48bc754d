"""Smooth L1: its optimum lies where its definition puts it, between the mean and the likelier value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, TWO, Constant, World, fit
from scipy.optimize import minimize_scalar
from scipy.special import huber

from unimm.noise import NoiseSource
from unimm.objectives.smooth_l1 import SmoothL1

NOISE = NoiseSource(1, "t")


def reached(world: World, beta: float) -> torch.Tensor:
    """What a head of constants learns to predict."""
    tested, head, latents = SmoothL1(SmoothL1.Config(beta=beta)), Constant(1), world.draw().flatten(1)[..., None]
    fit(head, lambda: tested.loss(head, latents, CONDITIONS, NOISE, KEYS))
    return tested.sample(head, CONDITIONS, (4, 1), NOISE, KEYS)


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
@pytest.mark.parametrize("beta", [0.1, 1.0, 20.0])
def test_training_reaches_scipy_s_optimum(world: World, beta: float) -> None:
    values = world.draw().double().numpy().ravel()
    best = minimize_scalar(lambda at: huber(beta, values - at).mean(), bounds=(-3, 3), method="bounded").x
    torch.testing.assert_close(reached(world, beta), torch.full((12, 4, 1), float(best)), atol=0.01, rtol=0)


def test_it_names_the_likelier_of_two_values_where_squares_name_their_mean() -> None:
    latents = TWO.draw()
    assert float(reached(TWO, 0.1).mean()) == pytest.approx(float(latents.median()), abs=0.05)
    assert float(reached(TWO, 20.0).mean()) == pytest.approx(float(latents.mean()), abs=0.01)
    assert float(latents.median()) > 0.6 > 0.3 > float(latents.mean())


def test_the_loss_is_huber_s_over_beta() -> None:
    head, latents = Constant(SHAPE[1]), GAUSSIAN.draw()
    loss = SmoothL1(SmoothL1.Config(beta=0.5)).loss(head, latents, CONDITIONS, NOISE, KEYS)
    away = (head.values.detach() - latents).numpy()
    assert float(loss) == pytest.approx(float(np.mean(huber(0.5, away)) / 0.5), rel=1e-5)
    assert SmoothL1.deterministic
