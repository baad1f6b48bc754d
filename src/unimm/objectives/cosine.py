"""Regression of the direction alone: ``L = 1 - cos(x, head(conditions))``, token by token.

SEED-X (arXiv 2404.14396) offers it beside the mean squared error for the same features, and MetaMorph (arXiv
2412.14164) regresses SigLIP tokens this way. The loss leaves the length of a token open, so samples get one: a
standardised token has a root mean square of about 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head
from unimm.noise import NoiseSource
from unimm.objectives.mse import Regression


def cosine_distance(predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
    """One minus the cosine between predicted and true tokens."""
    return 1 - F.cosine_similarity(predicted, latents, dim=-1)


class CosineDistance(Regression):
    """One minus the cosine between predicted and true tokens; deterministic like the mean squared error."""

    phrase = "cosine distance"

    class Config(ComponentConfig):
        """``rms``: root mean square over its channels that every sampled token is given."""

        rms: float = Field(1.0, gt=0)

    config: Config

    def distance(self, predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
        return cosine_distance(predicted, latents)

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        predicted = super().sample(head, conditions, shape, noise, keys)
        scaled: Tensor = F.normalize(predicted, dim=-1) * self.config.rms * shape[1] ** 0.5
        return scaled
