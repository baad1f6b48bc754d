"""MeanFlow: known mean velocities are its optimum, and one step of them samples a Gaussian and a mixture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, TWO, Known, World, fit
from torch import Tensor

from unimm.heads.dit import DiffusionTransformer
from unimm.noise import NoiseSource
from unimm.objectives.mean_flow import FASTEST, MeanFlow, sinusoids

PLAIN = {"condition_dropout": 0.0, "trained_guidance": 1.0, "shift": 1.0, "time_sampling": "uniform"}
SMALLEST_INTERVAL = 1e-3


def mean_flow(**changes: Any) -> MeanFlow:
    settings = PLAIN | {"adaptive": 0.0, "time_scale": 1.0, "unequal": 1.0}
    return MeanFlow(MeanFlow.Config(**settings | changes))


def told_interval(conditions: Tensor) -> Tensor:
    """The interval that was added to conditions of zeros, by its slowest sinusoid."""
    slowest = conditions.shape[-1] // 2 - 1
    return conditions[:, 0, slowest].asin() / (FASTEST / 100)


def flow_map(world: World, noisy: Tensor, time: Tensor, earlier: Tensor) -> Tensor:
    """Where the flow takes ``noisy`` from ``time`` to ``earlier``: values keep their quantile.

    Bisection finds it and one step of Newton's method, in which the derivatives are exact, makes it differentiable.
    """
    late, early = ((at[:, None, None].expand_as(noisy)) for at in (time, earlier))
    share = world.cdf(noisy, 1 - late, late)
    low, high = torch.full_like(share, -12.0), torch.full_like(share, 12.0)
    for _ in range(40):
        middle = (low + high) / 2
        above = world.cdf(middle, 1 - early, early) > share
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    found = ((low + high) / 2).detach()
    error = world.cdf(found, 1 - early, early) - share
    return found - error / world.density(found, 1 - early, early)


def perfect(world: World) -> Known:
    def mean_velocity(noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        interval = told_interval(conditions).clamp(min=SMALLEST_INTERVAL)
        return (noisy - flow_map(world, noisy, time, time - interval)) / interval[:, None, None]

    return Known(mean_velocity)


def least(later: Tensor, earlier: Tensor, std: float) -> Tensor:
    """The variance that the target has around the mean velocity of a Gaussian: that of the velocity given x_t, times
    the square of the flow's derivative, sigma_r / sigma_t."""
    at, before = (((1 - t) * std).square() + t.square() for t in (later, earlier))
    shared = later - (1 - later) * std**2
    return (1 + std**2 - shared.square() / at) * before / at


def away_from_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals that float32 can differentiate: neither short, nor up to the sharp distribution at the data's end."""
    late, early = torch.linspace(0.5, 0.95, len(KEYS)), torch.linspace(0.1, 0.4, len(KEYS))
    monkeypatch.setattr(MeanFlow, "intervals", lambda *_: (late, early))


def test_the_known_mean_velocity_has_the_least_loss_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    away_from_ends(monkeypatch)
    tested, noise = mean_flow(), NoiseSource(1, "t")
    loss = tested.loss(perfect(GAUSSIAN), GAUSSIAN.draw(), CONDITIONS, noise, KEYS)
    expected = least(*tested.intervals(noise, KEYS, 1.0, CONDITIONS.device), GAUSSIAN.std).mean()
    assert float(loss) == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
def test_training_leaves_the_known_mean_velocity_where_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The regression's gradient is zero there, but for chance; elsewhere it is not."""
    away_from_ends(monkeypatch)
    head, latents, noise = perfect(world), world.draw(), NoiseSource(2, "t")
    gradients = {}
    for off in (0.0, 0.3):
        head.shift.data.fill_(off)
        head.zero_grad()
        mean_flow().loss(head, latents, CONDITIONS, noise, KEYS).backward()
        gradients[off] = float(head.shift.grad)
    assert abs(gradients[0.0]) < 0.1 and gradients[0.3] > 0.4


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
def test_few_steps_of_it_sample_the_data(world: World, steps: int) -> None:
    samples = mean_flow(steps=steps).sample(perfect(world), CONDITIONS, SHAPE, NoiseSource(3, "s"), KEYS)
    world.check(samples)


def test_without_intervals_it_is_flow_matching() -> None:
    """Where r = t the target is the velocity: a head that names a constant learns the mean of eps - x."""
    tested, latents, noise = mean_flow(unequal=1e-9), GAUSSIAN.draw(), NoiseSource(4, "t")
    head = Known(lambda noisy, *_: torch.zeros_like(noisy))
    head.slope.requires_grad_(False)
    later, earlier = tested.intervals(noise, KEYS, 1.0, latents.device)
    assert torch.equal(later, earlier)
    fit(head, lambda: tested.loss(head, latents, CONDITIONS, noise, KEYS))
    assert float(head.shift) == pytest.approx(-GAUSSIAN.means[0], abs=0.02)


def test_the_later_end_is_the_later_one_and_shares_are_as_set() -> None:
    later, earlier = mean_flow(unequal=0.25).intervals(NoiseSource(5, "t"), range(2000), 1.0, CONDITIONS.device)
    assert bool((later >= earlier).all()) and float((later > earlier).float().mean()) == pytest.approx(0.25, abs=0.03)


def test_guidance_is_trained_in_for_those_that_keep_their_conditions() -> None:
    """Where the head says nothing, the target is g times the velocity, and the velocity itself without conditions."""
    latents, noise, conditions = GAUSSIAN.draw(), NoiseSource(6, "t"), torch.ones_like(CONDITIONS)
    head = Known(lambda noisy, *_: torch.zeros_like(noisy))
    squares = (noise.child("eps").normal(KEYS, SHAPE) - latents).square().mean((1, 2))
    tested = mean_flow(trained_guidance=2.0, condition_dropout=0.5, unequal=1e-9)
    kept = noise.child("dropout").uniform(KEYS) >= 0.5
    assert 0 < int(kept.sum()) < len(KEYS)
    loss = tested.loss(head, latents, conditions, noise, KEYS)
    torch.testing.assert_close(loss, (squares * torch.where(kept, 4.0, 1.0)).mean())


def test_the_paper_s_weight_makes_every_sample_count_alike() -> None:
    head = Known(lambda noisy, *_: torch.zeros_like(noisy))
    loss = mean_flow(adaptive=1.0).loss(head, GAUSSIAN.draw(), CONDITIONS, NoiseSource(7, "t"), KEYS)
    assert float(loss) == pytest.approx(1, abs=0.01)


def test_a_transformer_s_slope_is_its_difference_quotient() -> None:
    """The Jacobian-vector product through the head that arms use, against two of its forward passes."""
    torch.manual_seed(0)
    head = DiffusionTransformer(DiffusionTransformer.Config(width=32, layers=2, heads=2), 5, (2, 2), 8).eval()
    tested, generator = mean_flow(time_scale=0.01), torch.Generator().manual_seed(1)
    noisy, velocity = torch.randn(2, 3, 4, 5, generator=generator)
    time, conditions = torch.tensor([0.4, 0.6, 0.9]), torch.randn(3, 2, 8, generator=generator)

    def at(step: float) -> Tensor:
        return tested.mean_velocity(head, noisy + step * velocity, time + step, time + step - 0.2, conditions)

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        ahead = (velocity, torch.ones_like(time))
        _, slope = torch.func.jvp(
            lambda z, t: tested.mean_velocity(head, z, t, t - 0.2, conditions), (noisy, time), ahead
        )
    torch.testing.assert_close(slope, (at(0.001) - at(-0.001)) / 0.002, atol=5e-3, rtol=5e-3)


def test_sinusoids_tell_intervals_apart_and_change_slowly() -> None:
    short, long = sinusoids(torch.tensor([0.1, 0.9]), 7)
    assert short.shape == (7,) and float((short - long).abs().max()) > 0.5
    torch.testing.assert_close(sinusoids(torch.tensor([0.0]), 4)[0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
