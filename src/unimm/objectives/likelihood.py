"""Likelihoods: the head predicts a distribution of latents from the conditions alone, and samples are drawn from it.

    Gaussian    p(x) = prod N(x_nd; m_nd, s_nd)
    mixture     p(x) = sum_k w_k prod N(x_nd; m_knd, s_knd),   of a token (GIVT, arXiv 2312.02116) or of the whole image

``L = -log p(x)`` for each value, in nats. Both are stochastic and neither is diffusion: whether flow matching beats
regression because its samples differ, or because it refines them, they tell apart. A Gaussian has one mode, and so has
its mean as regression; mixtures have as many as ``components``. Where each token has components of its own, tokens are
drawn independently; where they are the image's, all tokens follow one choice, and there are few images to choose from.

Samples are ``mean + temperature scale eps`` about the mean of the component that was drawn by its weight. At 1 they are
the model's own distribution; at 0 they are the drawn component's mean. Guidance trades variety for likelihood where
there is a path to guide; here temperature does, and takes no training either.

A scale is ``floor + softplus(raw + c)``, with c such that a raw 0 is ``floor + 1``. Without a floor the likelihood of a
value that can be predicted exactly has no bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.distributions import Normal

from unimm.component_config import ComponentConfig
from unimm.components import Head, Objective
from unimm.noise import NoiseSource
from unimm.objectives.mse import from_conditions

UNIT = math.log(math.e - 1)  # softplus of this is 1


class Gaussian(Objective):
    """Gaussian likelihood: the head predicts mean and scale of every value."""

    phrase = "a Gaussian likelihood"

    class Config(ComponentConfig):
        """``floor``: the smallest scale; ``temperature``: factor of the scales of samples, read by sampling alone."""

        floor: float = Field(0.05, gt=0)
        temperature: float = Field(1.0, ge=0, allow_inf_nan=False)

    deterministic = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def head_channels(self, channels: int) -> int:
        return 2 * channels

    def predicted(self, head: Head, conditions: Float[Tensor, "b q h"], shape: tuple[int, int]) -> Normal:
        """The distribution of every value, ``[b, n, d]``."""
        mean, raw = from_conditions(head, conditions, (shape[0], self.head_channels(shape[1]))).chunk(2, dim=-1)
        return Normal(mean, self.config.floor + F.softplus(raw + UNIT), validate_args=False)

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        values = self.predicted(head, conditions, (latents.shape[1], latents.shape[2]))
        density: Tensor = values.log_prob(latents.float())
        return -density.mean()

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        values = self.predicted(head, conditions, shape)
        own = noise.child("start").normal(keys, shape).to(conditions.device)
        drawn: Tensor = values.mean + self.config.temperature * values.stddev * own
        return drawn


class Mixture(Objective):
    """Mixture likelihood: the head predicts several Gaussians for each token or image, and their weights."""

    phrase = "a mixture likelihood"

    class Config(Gaussian.Config):
        """``components``: how many; ``of``: image, all tokens follow one choice, or token, each makes its own."""

        components: int = Field(8, ge=2)
        of: Literal["image", "token"] = "image"

    deterministic = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def head_channels(self, channels: int) -> int:
        return self.config.components * (2 * channels + 1)

    def predicted(
        self, head: Head, conditions: Float[Tensor, "b q h"], shape: tuple[int, int]
    ) -> tuple[Float[Tensor, "b places k"], Normal]:
        """Logarithms of the weights at every place (one, or one a token), and distributions ``[b, n, k, d]``."""
        count = self.config.components
        whole = from_conditions(head, conditions, (shape[0], self.head_channels(shape[1])))
        logits, raw = whole[..., :count], whole[..., count:].unflatten(-1, (count, 2 * shape[1]))
        if self.config.of == "image":
            logits = logits.mean(dim=1, keepdim=True)
        mean, scale = raw.chunk(2, dim=-1)
        return logits.log_softmax(dim=-1), Normal(
            mean, self.config.floor + F.softplus(scale + UNIT), validate_args=False
        )

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        weights, values = self.predicted(head, conditions, (latents.shape[1], latents.shape[2]))
        density: Tensor = values.log_prob(latents.float()[:, :, None]).sum(dim=-1)
        if self.config.of == "image":
            density = density.sum(dim=1, keepdim=True)
        return -(weights + density).logsumexp(dim=-1).sum() / latents.numel()

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        weights, values = self.predicted(head, conditions, shape)
        # Uniform numbers for every place: one key has but one of them, and any number of normal ones.
        uniform = torch.special.ndtr(noise.child("component").normal(keys, (weights.shape[1], 1)))
        below = weights.exp().cumsum(dim=-1)[..., :-1] < uniform.to(weights.device)
        chosen = below.sum(dim=-1)[..., None, None].expand(-1, shape[0], 1, shape[1])
        mean, scale = (part.gather(2, chosen)[:, :, 0] for part in (values.mean, values.stddev))
        own = noise.child("start").normal(keys, shape).to(conditions.device)
        drawn: Tensor = mean + self.config.temperature * scale * own
        return drawn
