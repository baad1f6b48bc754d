"""Flow matching whose head predicts the noise, with the loss in velocity space.

On the path ``x_t = (1 - t) x + t eps`` the velocity is ``eps - x = (eps - x_t) / (1 - t)``. At t = 1 the latents *are*
the noise, and a head that repeats its input knows nothing of the data: training and sampling therefore stay at or below
``1 - floor``, and sampling starts from noise of that size. What is left of the data there, ``floor`` times its mean, is
lost: samples are off by about that share of the mean (the flaw that arXiv 2305.08891 describes for diffusion models).
"""

from __future__ import annotations

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.objectives.flow_matching import FlowMatching


class EpsilonPrediction(FlowMatching):
    """Flow matching by predicting the noise, with the loss between velocities."""

    phrase = "flow matching that predicts the noise"

    class Config(FlowMatching.Config):
        """``floor``: how much below 1 the noisiest time lies, which is the smallest 1 - t that is divided by."""

        floor: float = Field(0.05, gt=0, lt=1)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.noisiest = 1 - config.floor

    def answer(self, latents: Float[Tensor, "b n d"], eps: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return eps

    def velocity(
        self, predicted: Float[Tensor, "b n d"], noisy: Float[Tensor, "b n d"], time: Float[Tensor, "b 1 1"]
    ) -> Float[Tensor, "b n d"]:
        return (predicted - noisy) / (1 - time)
