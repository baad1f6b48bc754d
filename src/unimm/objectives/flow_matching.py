"""Flow matching along straight lines (rectified flow), as in BLIP3-o's code.

``x_t = (1 - t) x + t eps`` with t = 0 data and t = 1 noise; the head predicts the velocity ``eps - x``; Euler steps
integrate back from noise. Times are uniform or logit-normal, then shifted by the latents' dimension,
``t' = a t / (1 + (a - 1) t)`` with ``a = sqrt(N D / base)`` (Esser et al. 2024; RAE, arXiv 2510.11690), because larger
latents keep their content visible under more noise. Classifier-free guidance drops conditions to zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head, Objective
from unimm.noise import NoiseSource


def shift_times(time: Float[Tensor, " n"], alpha: float) -> Float[Tensor, " n"]:
    """Move times towards noise (alpha > 1) or data (alpha < 1); 0 and 1 stay."""
    return alpha * time / (1 + (alpha - 1) * time)


class FlowMatching(Objective):
    """Velocity regression and Euler sampling."""

    class Config(ComponentConfig):
        """``shift`` null: from the latents' dimension and ``shift_base``; ``guidance`` 1 turns guidance off."""

        time_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
        time_mean: float = 0.4
        time_std: float = Field(1.0, gt=0)
        shift: float | None = Field(None, gt=0)
        shift_base: float = Field(4096, gt=0)
        condition_dropout: float = Field(0.1, ge=0, lt=1)
        steps: int = Field(25, ge=1)
        guidance: float = Field(3.0, ge=1)

    deterministic = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def alpha(self, tokens: int, channels: int) -> float:
        """The timestep shift for latents of this size."""
        return self.config.shift or math.sqrt(tokens * channels / self.config.shift_base)

    def times(self, noise: NoiseSource, keys: Sequence[str | int], alpha: float) -> Float[Tensor, " b"]:
        """Training times, one a sample."""
        if self.config.time_sampling == "uniform":
            time = noise.child("time").uniform(keys)
        else:
            normal = noise.child("time").normal(keys, (1,))[:, 0]
            time = torch.sigmoid(self.config.time_mean + self.config.time_std * normal)
        return shift_times(time, alpha)

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        device = latents.device
        time = self.times(noise, keys, self.alpha(*latents.shape[1:])).to(device)
        eps = noise.child("eps").normal(keys, tuple(latents.shape[1:])).to(device)
        kept = noise.child("dropout").uniform(keys) >= self.config.condition_dropout
        conditions = conditions * kept.to(device, conditions.dtype)[:, None, None]
        return self._errors(head, latents, conditions, time, eps).mean()

    def losses_at(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
        time: Float[Tensor, " b"],
    ) -> Float[Tensor, " b"]:
        eps = noise.child("eps").normal(keys, tuple(latents.shape[1:])).to(latents.device)
        return self._errors(head, latents, conditions, time, eps).mean(dim=(1, 2))

    def _errors(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        time: Float[Tensor, " b"],
        eps: Float[Tensor, "b n d"],
    ) -> Float[Tensor, "b n d"]:
        """Squared errors of the predicted velocity."""
        mixed = (1 - time)[:, None, None] * latents + time[:, None, None] * eps
        velocity: Tensor = head(mixed, time, conditions)
        return (velocity.float() - (eps - latents)).square()

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        latents = noise.child("start").normal(keys, shape).to(conditions.device)
        grid = shift_times(torch.linspace(1, 0, self.config.steps + 1), self.alpha(*shape)).tolist()
        for now, after in pairwise(grid):
            latents = latents + (after - now) * self._velocity(head, latents, now, conditions)
        return latents

    def _velocity(
        self, head: Head, latents: Float[Tensor, "b n d"], now: float, conditions: Float[Tensor, "b q h"]
    ) -> Float[Tensor, "b n d"]:
        batch = len(latents)
        if self.config.guidance == 1:
            velocity: Tensor = head(latents, latents.new_full((batch,), now), conditions)
            return velocity.float()
        both = torch.cat([conditions, torch.zeros_like(conditions)])
        guided, free = head(torch.cat([latents, latents]), latents.new_full((2 * batch,), now), both).float().chunk(2)
        mixed: Tensor = free + self.config.guidance * (guided - free)
        return mixed
