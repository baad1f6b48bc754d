"""Flow matching: path and velocity identities, shifted times, the grid of diffusers, guidance, dropout, invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unimm.components import Head
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching, shift_times

ALPHAS = st.floats(0.05, 20)


class Call(Head):
    """A head that applies a function and records its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, noisy, time, conditions):
        self.calls.append((noisy, time, conditions))
        return self.function(noisy, time, conditions)


def flow(**changes) -> FlowMatching:
    return FlowMatching(FlowMatching.Config(**{"condition_dropout": 0.0, "guidance": 1.0, "steps": 7} | changes))


def linear(noisy, time, conditions):
    return torch.tanh(noisy) * (1 + time[:, None, None]) + conditions.mean((1, 2))[:, None, None]


def inputs(batch: int, tokens: int = 4, channels: int = 3):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, tokens, channels, generator=generator)
    return latents, torch.randn(batch, 2, 5, generator=generator)


@pytest.mark.parametrize("sampling", ["uniform", "logit_normal"])
@pytest.mark.parametrize("shift", [None, 0.3, 4.0])
def test_true_velocity_has_no_loss(sampling, shift):
    latents, conditions = inputs(6)
    head = Call(lambda noisy, time, _: (noisy - latents) / time[:, None, None])
    loss = flow(time_sampling=sampling, shift=shift).loss(head, latents, conditions, NoiseSource(1, "t"), range(6))
    assert loss.dtype == torch.float32
    assert float(loss) < 1e-6


def test_path_runs_from_data_to_noise():
    latents, conditions = inputs(5)
    noise = NoiseSource(1, "t")
    objective, head = flow(shift=2.0), Call(lambda noisy, *_: torch.zeros_like(noisy))
    loss = objective.loss(head, latents, conditions, noise, range(5))
    eps = noise.child("eps").normal(range(5), (4, 3))
    (noisy, time, _), t = head.calls[0], objective.times(noise, range(5), 2.0)
    torch.testing.assert_close(time, t)
    torch.testing.assert_close(noisy, torch.lerp(latents, eps, t[:, None, None]))
    torch.testing.assert_close(loss, (eps - latents).square().mean())


@pytest.mark.parametrize("steps", [1, 4, 25])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_true_velocity_samples_the_data(steps, guidance):
    latents, conditions = inputs(3)

    def velocity(noisy, time, _):
        return (noisy - latents.repeat(len(noisy) // 3, 1, 1)) / time[:, None, None]

    samples = flow(steps=steps, guidance=guidance).sample(
        Call(velocity), conditions, (4, 3), NoiseSource(2, "s"), range(3)
    )
    torch.testing.assert_close(samples, latents, atol=1e-5, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(alpha=ALPHAS)
def test_shift_keeps_ends_and_order_and_inverts(alpha):
    time = torch.linspace(0, 1, 65, dtype=torch.float64)
    moved = shift_times(time, alpha)
    assert moved[0] == 0
    assert float(moved[-1]) == pytest.approx(1, abs=1e-12)
    assert bool((moved.diff() > 0).all())
    torch.testing.assert_close(shift_times(moved, 1 / alpha), time, atol=1e-9, rtol=1e-9)
    assert bool(((moved - time) * (alpha - 1) >= -1e-12).all())


@settings(max_examples=25, deadline=None)
@given(tokens=st.integers(1, 1024), channels=st.integers(1, 2048), base=st.floats(16, 65536))
def test_alpha_is_the_root_of_the_dimension(tokens, channels, base):
    assert flow(shift_base=base).alpha(tokens, channels) == pytest.approx(math.sqrt(tokens * channels / base))
    assert flow(shift_base=base, shift=1.5).alpha(tokens, channels) == 1.5


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 5, 25])
def test_agrees_with_diffusers(alpha, steps):
    _, conditions = inputs(3)
    noise, head = NoiseSource(3, "s"), Call(linear)
    ours = flow(steps=steps, shift=alpha).sample(head, conditions, (4, 3), noise, range(3))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=alpha)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
    theirs = noise.child("start").normal(range(3), (4, 3))
    for i, t in enumerate(scheduler.timesteps):
        velocity = linear(theirs, scheduler.sigmas[i].expand(3), conditions)
        theirs = scheduler.step(velocity, t, theirs, return_dict=False)[0]
    grid = torch.stack([time[0] for _, time, _ in head.calls])
    torch.testing.assert_close(grid, scheduler.sigmas[:-1].float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_guidance_extrapolates_from_zero_conditions():
    _, conditions = inputs(3)
    noise = NoiseSource(4, "s")
    ours = flow(steps=1, guidance=2.5).sample(Call(linear), conditions, (4, 3), noise, range(3))
    start = noise.child("start").normal(range(3), (4, 3))
    guided, free = (linear(start, torch.ones(3), c) for c in (conditions, torch.zeros_like(conditions)))
    torch.testing.assert_close(ours, start - (free + 2.5 * (guided - free)))


def test_conditions_are_dropped_at_their_share():
    keys = range(2000)
    head = Call(lambda noisy, *_: torch.zeros_like(noisy))
    conditions = torch.ones(2000, 1, 2)
    flow(condition_dropout=0.1).loss(head, torch.zeros(2000, 1, 1), conditions, NoiseSource(5, "t"), keys)
    seen = head.calls[0][2]
    dropped = (seen == 0).flatten(1).all(1)
    assert bool(((seen == 1).flatten(1).all(1) | dropped).all())
    assert float(dropped.float().mean()) == pytest.approx(0.1, abs=0.03)


def test_without_dropout_every_condition_stays():
    latents, conditions = inputs(64)
    head = Call(lambda noisy, *_: torch.zeros_like(noisy))
    flow().loss(head, latents, conditions, NoiseSource(5, "t"), range(64))
    torch.testing.assert_close(head.calls[0][2], conditions)


@pytest.mark.parametrize("split", [1, 2, 5])
def test_batch_split_changes_nothing(split):
    latents, conditions = inputs(6)
    objective, noise = flow(condition_dropout=0.3, guidance=2.0), NoiseSource(6, "t")
    keys = [f"k{i}" for i in range(6)]
    parts = [slice(0, split), slice(split, 6)]
    whole = objective.loss(Call(linear), latents, conditions, noise, keys)
    losses = [objective.loss(Call(linear), latents[p], conditions[p], noise, keys[p]) for p in parts]
    weighted = losses[0] * split / 6 + losses[1] * (6 - split) / 6
    torch.testing.assert_close(weighted, whole, atol=1e-6, rtol=1e-6)
    samples = objective.sample(Call(linear), conditions, (4, 3), noise, keys)
    pieces = [objective.sample(Call(linear), conditions[p], (4, 3), noise, keys[p]) for p in parts]
    torch.testing.assert_close(torch.cat(pieces), samples, atol=1e-6, rtol=1e-6)
