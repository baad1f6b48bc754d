"""Denoising diffusion: diffusers' DDPM scheduler on the same noise, the known optimum, and right moments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from known_distributions import CONDITIONS, GAUSSIAN, KEYS, SHAPE, TWO, Known, World, fit
from torch import Tensor

from unimm.noise import NoiseSource
from unimm.objectives.ddpm import STEPS, Ddpm

PLAIN = {"condition_dropout": 0.0, "guidance": 1.0}


def ddpm(**changes: Any) -> Ddpm:
    return Ddpm(Ddpm.Config(**PLAIN | changes))


def theirs(steps: int = STEPS) -> Any:
    scheduler: Any = DDPMScheduler(STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=False)
    scheduler.set_timesteps(steps)
    return scheduler


def perfect(world: World) -> Known:
    kept = theirs().alphas_cumprod

    def eps(noisy: Tensor, time: Tensor, _: Tensor) -> Tensor:
        at = kept[(time * STEPS).round().long() - 1][:, None, None].expand_as(noisy)
        return (noisy - at.sqrt() * world.mean_given(noisy, at.sqrt(), (1 - at).sqrt())) / (1 - at).sqrt()

    return Known(eps)


def test_training_adds_noise_as_diffusers_does_at_a_time_that_ends_in_noise() -> None:
    latents, noise, given = TWO.draw(), NoiseSource(1, "t"), []
    head = Known(lambda noisy, time, _: (given.append((noisy, time)), torch.zeros_like(noisy))[1])
    loss = ddpm().loss(head, latents, CONDITIONS, noise, KEYS)
    (noisy, time), eps = given[0], noise.child("eps").normal(KEYS, SHAPE)
    assert float(time.min()) > 0 and float(time.max()) <= 1
    steps = (time * STEPS).round().long() - 1
    torch.testing.assert_close(noisy, theirs().add_noise(latents, eps, steps), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(loss, eps.square().mean())
    assert theirs().alphas_cumprod[0] > 0.99, "the first step is data"


@pytest.mark.parametrize("steps", [1, 10, 25])
def test_the_sampler_is_the_ddpm_scheduler_s(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, head, scheduler = NoiseSource(2, "s"), perfect(TWO), theirs(steps)
    ours = ddpm(steps=steps).sample(head, CONDITIONS, SHAPE, noise, KEYS)
    latents = noise.child("start").normal(KEYS, SHAPE)
    for step in scheduler.timesteps.tolist():
        fresh = noise.child(f"step {step}").normal(KEYS, SHAPE)
        monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, now=fresh, **__: now)
        eps = head(latents, torch.full((len(KEYS),), (step + 1) / STEPS), CONDITIONS)
        latents = scheduler.step(eps, step, latents, return_dict=False)[0]
    torch.testing.assert_close(ours, latents, atol=1e-4, rtol=1e-4)


def test_training_leaves_the_perfect_predictor_where_it_is() -> None:
    for world in (GAUSSIAN, TWO):
        head, latents, noise = perfect(world), world.draw(), NoiseSource(3, "t")
        fit(head, lambda head=head, latents=latents, noise=noise: ddpm().loss(head, latents, CONDITIONS, noise, KEYS))
        assert abs(head.shift.item()) < 0.03 and abs(head.slope.item()) < 0.03


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("world", [GAUSSIAN, TWO], ids=["gaussian", "two"])
def test_samples_of_the_perfect_predictor_have_the_data_s_moments(world: World, eta: float) -> None:
    samples = ddpm(steps=125, eta=eta).sample(perfect(world), CONDITIONS, SHAPE, NoiseSource(4, "s"), KEYS)
    world.check(samples, tolerance=0.04)


def test_a_batch_cut_in_two_gives_the_same() -> None:
    tested, noise, latents, head = ddpm(guidance=2.0, steps=3), NoiseSource(5, "s"), TWO.draw(), perfect(TWO)
    halves = [slice(0, 5), slice(5, 12)]
    whole = tested.sample(head, CONDITIONS, SHAPE, noise, KEYS)
    parts = [tested.sample(head, CONDITIONS[part], SHAPE, noise, KEYS[part]) for part in halves]
    torch.testing.assert_close(torch.cat(parts), whole)
    losses = [tested.loss(head, latents[part], CONDITIONS[part], noise, KEYS[part]) for part in halves]
    mean = losses[0] * 5 / 12 + losses[1] * 7 / 12
    torch.testing.assert_close(mean, tested.loss(head, latents, CONDITIONS, noise, KEYS))
