"""MeanFlow (arXiv 2505.13447): the head predicts the mean velocity over an interval, so that one step samples.

On the path ``x_t = (1 - t) x + t eps`` the mean of the marginal velocity v over [r, t] is

    u(x_t, r, t) = 1 / (t - r) * integral of v(x_s, s) ds from r to t,   so that   x_r = x_t - (t - r) u(x_t, r, t).

Differentiating (t - r) u by t along the flow gives the identity that training regresses on, its right side held fixed:

    u = v - (t - r) du/dt,   du/dt = (v d/dx + d/dt) u,

a Jacobian-vector product in the direction (v, 1), by `torch.func.jvp`. In a share of the samples r = t, where this is
flow matching. The interval t - r enters as sinusoids that are added to every condition, so that any head can be told.

Guidance is trained in, not sampled (section 4.2 there): ``v`` is replaced by ``g v + (1 - g) u(x_t, t, t)`` without
conditions. The squared error of a sample is divided by itself to the power ``adaptive``: with 1, the paper's choice,
the loss is always near 1 and its curve says nothing. Heads embed 1000 times the time that they are told, which is too
steep to differentiate (arXiv 2410.11081 says the same of consistency models): they are told ``time_scale`` times t.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unimm.components import Head
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching, StraightPath, shift_times
from unimm.objectives.guidance import kept

# Added to a squared error before it divides: no sample counts without bounds.
SMALLEST = 1e-3
# Of the interval's sinusoids, in radians a unit of time: from this to a hundredth of it.
FASTEST = 10.0


class MeanFlow(FlowMatching):
    """Mean velocity over an interval, regressed by a Jacobian-vector product; samples in one step."""

    phrase = "mean flow"

    class Config(StraightPath):
        """``unequal``: share of samples with r < t; ``trained_guidance``: weight of guidance, 1 for none.

        ``adaptive``: power of the squared error by which it is divided; ``time_scale``: of the times that the head is
        told.
        """

        steps: int = Field(1, ge=1)
        unequal: float = Field(0.25, gt=0, le=1)
        trained_guidance: float = Field(3.0, ge=1)
        adaptive: float = Field(1.0, ge=0)
        time_scale: float = Field(0.01, gt=0)

    config: Config  # type: ignore[assignment]  # no guidance: it is trained in

    def mean_velocity(
        self,
        head: Head,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        interval: Float[Tensor, " b"],
        conditions: Float[Tensor, "b q h"],
    ) -> Float[Tensor, "b n d"]:
        """u over [time - interval, time], in float32."""
        told = conditions + sinusoids(interval, conditions.shape[-1])[:, None]
        predicted: Tensor = head(noisy, time * self.config.time_scale, told)
        return predicted.float()

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        later, earlier = self.intervals(noise, keys, self.alpha(*latents.shape[1:]), latents.device)
        eps = noise.child("eps").normal(keys, tuple(latents.shape[1:])).to(latents.device)
        along = later[:, None, None]
        noisy = (1 - along) * latents + along * eps
        velocity = self.guided(head, noisy, later, eps - latents, conditions)
        given = kept(self.config.condition_dropout, noise, keys).to(latents.device)[:, None, None]
        velocity = torch.where(given, velocity, eps - latents)
        conditions = conditions * given.to(conditions.dtype)

        def mean(at: Tensor, time: Tensor) -> Tensor:
            return self.mean_velocity(head, at, time, time - earlier, conditions)

        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
            both: Any = torch.func.jvp(mean, (noisy, later), (velocity, torch.ones_like(later)))
        predicted, slope = both
        target = velocity - (later - earlier)[:, None, None] * slope.detach()
        error: Tensor = (predicted - target).square().mean((1, 2))
        return (error / (error.detach() + SMALLEST) ** self.config.adaptive).mean()

    def intervals(
        self, noise: NoiseSource, keys: Sequence[str | int], alpha: float, device: torch.device
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """The ends t and r of every sample's interval, the later one first."""
        one, two = (self.times(noise.child(name), keys, alpha) for name in ("one", "two"))
        later = torch.maximum(one, two)
        unequal = noise.child("unequal").uniform(keys) < self.config.unequal
        earlier = torch.where(unequal, torch.minimum(one, two), later)
        return later.to(device), earlier.to(device)

    @torch.no_grad()
    def guided(
        self,
        head: Head,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        velocity: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
    ) -> Float[Tensor, "b n d"]:
        """The velocity, extrapolated from what the head says without conditions."""
        if self.config.trained_guidance == 1:
            return velocity
        free = self.mean_velocity(head, noisy, time, torch.zeros_like(time), torch.zeros_like(conditions))
        return self.config.trained_guidance * velocity + (1 - self.config.trained_guidance) * free

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        latents = noise.child("start").normal(keys, shape).to(conditions.device)
        even = torch.linspace(1, 0, self.config.steps + 1)
        for now, after in pairwise(shift_times(even, self.alpha(*shape)).tolist()):
            time, interval = (latents.new_full((len(latents),), value) for value in (now, now - after))
            latents = latents - (now - after) * self.mean_velocity(head, latents, time, interval, conditions)
        return latents


def sinusoids(interval: Float[Tensor, " b"], width: int) -> Float[Tensor, "b h"]:
    """An interval as ``width`` sines and cosines of frequencies that fall from the fastest to a hundredth of it."""
    half = (width + 1) // 2
    rates = FASTEST * torch.logspace(0, -2, half, device=interval.device)
    angles = interval[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
