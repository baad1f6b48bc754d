"""Flow matching along straight lines (rectified flow), as in BLIP3-o's code.

``x_t = (1 - t) x + t eps`` with t = 0 data and t = 1 noise; the head predicts the velocity ``eps - x``; Euler steps
integrate back from noise. Times are uniform or logit-normal, then shifted by the latents' dimension,
``t' = a t / (1 + (a - 1) t)`` with ``a = sqrt(N D / base)`` (Esser et al. 2024; RAE, arXiv 2510.11690), because larger
latents keep their content visible under more noise. Classifier-free guidance drops conditions to zeros.

An objective whose head predicts something else along the same lines overrides `FlowMatching.answer` and
`FlowMatching.velocity`; the loss stays one between velocities, and the sampler stays as it is.
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
from unimm.objectives.guidance import drop, guided


def shift_times(time: Float[Tensor, " n"], alpha: float) -> Float[Tensor, " n"]:
    """Move times towards noise (alpha > 1) or data (alpha < 1); 0 and 1 stay."""
    return alpha * time / (1 + (alpha - 1) * time)


class StraightPath(ComponentConfig):
    """Settings of training times and of steps back.

    ``time_sampling``: how training times are drawn; ``time_mean``, ``time_std``: of logit-normal ones; ``shift``: of
    times towards noise, null for sqrt(tokens x channels / ``shift_base``); ``shift_base``: numbers of a latent whose
    shift is 1; ``condition_dropout``: share of samples trained without their condition; ``steps``: Euler steps.
    """

    time_sampling: Literal["uniform", "logit_normal"] = "logit_normal"
    time_mean: float = 0.4
    time_std: float = Field(1.0, gt=0)
    shift: float | None = Field(None, gt=0)
    shift_base: float = Field(4096, gt=0)
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    steps: int = Field(25, ge=1)


class FlowMatching(Objective):
    """Velocity regression and Euler sampling."""

    phrase = "flow matching"

    class Config(StraightPath):
        """``guidance``: weight of classifier-free guidance, 1 for none."""

        guidance: float = Field(3.0, ge=1)

    deterministic = False
    # The noisiest time that is trained and sampled from; below 1 where pure noise leaves the prediction undefined.
    noisiest: float = 1.0

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
        return shift_times(time, alpha) * self.noisiest

    def answer(self, latents: Float[Tensor, "b n d"], eps: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What the head has to predict."""
        return eps - latents

    def velocity(
        self, predicted: Float[Tensor, "b n d"], noisy: Float[Tensor, "b n d"], time: Float[Tensor, "b 1 1"]
    ) -> Float[Tensor, "b n d"]:
        """The velocity that a prediction stands for."""
        return predicted

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
        conditions = drop(conditions, self.config.condition_dropout, noise, keys)
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
        """Squared errors of the velocity that the prediction stands for."""
        along = time[:, None, None]
        noisy = (1 - along) * latents + along * eps
        predicted: Tensor = head(noisy, time, conditions)
        velocity = self.velocity(predicted.float(), noisy, along)
        return (velocity - self.velocity(self.answer(latents, eps), noisy, along)).square()

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        latents = noise.child("start").normal(keys, shape).to(conditions.device) * self.noisiest
        even = torch.linspace(1, 0, self.config.steps + 1)
        grid = (shift_times(even, self.alpha(*shape)) * self.noisiest).tolist()
        predict = guided(head, conditions, self.config.guidance)
        for now, after in pairwise(grid):
            velocity = self.velocity(predict(latents, now), latents, latents.new_full((len(latents), 1, 1), now))
            latents = latents + (after - now) * velocity
        return latents
