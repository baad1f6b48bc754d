"""Regression that grows linearly far out: smooth L1 (Huber), value by value.

    L(d) = d^2 / (2 beta) where |d| < beta, else |d| - beta / 2,   d = x - head(conditions)

Its optimum lies between mean (large ``beta``) and median (small ``beta``): of two possible values it names the likelier
one rather than their blank mean, so that it asks whether regression fails because of the mean.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.objectives.mse import Regression


class SmoothL1(Regression):
    """Smooth L1 distance to the latents: squares for small errors, absolute values for large ones."""

    phrase = "smooth L1 distance"

    class Config(ComponentConfig):
        """``beta``: the error at which squares end; latents have a standard deviation of 1 where standardised."""

        beta: float = Field(0.1, gt=0)

    config: Config

    def distance(self, predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return F.smooth_l1_loss(predicted, latents, beta=self.config.beta, reduction="none")
