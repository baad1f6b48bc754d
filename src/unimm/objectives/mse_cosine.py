"""Regression of length and direction: ``L = |x - y|^2 + w (1 - cos(x, y))`` with y = head(conditions).

The mean squared error weighs a token by its length, the cosine every token alike: together they do not give up on
short tokens (SEED-X, arXiv 2404.14396, offers either for CLIP features). Where several tokens are possible, both pull
towards their mean, so that samples are as blank as those of the mean squared error.
"""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.objectives.cosine import cosine_distance
from unimm.objectives.mse import MeanSquaredError


class MseCosine(MeanSquaredError):
    """Mean squared error plus one minus the cosine between predicted and true tokens."""

    phrase = "mean squared error plus cosine distance"

    class Config(ComponentConfig):
        """``cosine_weight``: what the cosine's part is multiplied by."""

        cosine_weight: float = Field(1.0, gt=0)

    config: Config

    def distance(self, predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        squares = super().distance(predicted, latents)
        return squares + self.config.cosine_weight * cosine_distance(predicted, latents)[..., None]
