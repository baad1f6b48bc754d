"""Flow matching whose head predicts the data itself, with the loss in velocity space (JiT, arXiv 2511.13720).

On the path ``x_t = (1 - t) x + t eps`` the velocity is ``eps - x = (x_t - x) / t``, so that a prediction of x is one of
the velocity, and the velocity loss is ``|x - head|^2 / t^2``. Data lie on a manifold of few dimensions and velocities
fill the space with noise: a head that is narrower than a token can still name the former (RAEv2, arXiv 2605.18324,
compares both). Where t is below ``floor`` the division is by ``floor``, in training and in sampling, as in JiT.
"""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.objectives.flow_matching import FlowMatching


class XPrediction(FlowMatching):
    """Flow matching by predicting the data, with the loss between velocities."""

    phrase = "flow matching that predicts the data"

    class Config(FlowMatching.Config):
        """``floor``: the smallest t that is divided by."""

        floor: float = Field(0.05, gt=0, lt=1)

    config: Config

    def answer(self, latents: Float[Tensor, "b n d"], eps: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return latents

    def velocity(
        self, predicted: Float[Tensor, "b n d"], noisy: Float[Tensor, "b n d"], time: Float[Tensor, "b 1 1"]
    ) -> Float[Tensor, "b n d"]:
        return (noisy - predicted) / time.clamp(min=self.config.floor)
