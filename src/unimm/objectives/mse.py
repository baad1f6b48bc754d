"""Regression: the head predicts the latents from the conditions alone, ``L = ||x - head(conditions)||^2``.

The same head as flow matching's, called with zeros for noisy latents and time, so that parameters match. Its samples
are deterministic: one prompt, one set of latents.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head, Objective
from unimm.noise import NoiseSource


def from_conditions(head: Head, conditions: Float[Tensor, "b q h"], shape: tuple[int, int]) -> Float[Tensor, "b n d"]:
    """What the head makes of the conditions alone, in float32."""
    blank = conditions.new_zeros(len(conditions), *shape)
    prediction: Tensor = head(blank, blank.new_zeros(len(conditions)), conditions)
    return prediction.float()


class Regression(Objective):
    """A distance between latents and a prediction from the conditions alone, which is also the sample."""

    deterministic = True

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def distance(self, predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b ..."]:
        """The distance by value or by token; the loss is its mean."""

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        return self._errors(head, latents, conditions).mean()

    def losses_at(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
        time: Float[Tensor, " b"],
    ) -> Float[Tensor, " b"]:
        return self._errors(head, latents, conditions).flatten(1).mean(dim=1)

    def _errors(
        self, head: Head, latents: Float[Tensor, "b n d"], conditions: Float[Tensor, "b q h"]
    ) -> Float[Tensor, "b ..."]:
        predicted = from_conditions(head, conditions, (latents.shape[1], latents.shape[2]))
        return self.distance(predicted, latents.float())

    def sample(
        self,
        head: Head,
        conditions: Float[Tensor, "b q h"],
        shape: tuple[int, int],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, "b n d"]:
        return from_conditions(head, conditions, shape)


class MeanSquaredError(Regression):
    """Mean squared error to the latents."""

    phrase = "mean squared error"

    class Config(ComponentConfig):
        """Nothing to set."""

    def distance(self, predicted: Float[Tensor, "b n d"], latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return (predicted - latents).square()
