"""Distributions whose best predictions are known: mixtures of Gaussians, every value of the latents drawn by itself.

With ``z = a x + b eps`` and x from component k, z is N(a m_k, a^2 s^2 + b^2), so that a component's share at z and its
mean of x given z have closed forms; a Gaussian is a mixture of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unimm.components import Head
from unimm.noise import NoiseSource

SHAPE = (20, 50)  # independent values, so that few keys make many of them
KEYS = range(12)
CONDITIONS = torch.zeros(len(KEYS), 1, 4)
DATA = NoiseSource(11, "data")


@dataclass(frozen=True)
class World:
    """Weights and means of the components, and the standard deviation that they share."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    std: float

    def draw(self) -> Tensor:
        """Latents of the keys."""
        share = torch.special.ndtr(DATA.child("component").normal(KEYS, SHAPE))
        component = torch.bucketize(share, torch.tensor(self.weights).cumsum(0)[:-1])
        return torch.tensor(self.means)[component] + self.std * DATA.child("value").normal(KEYS, SHAPE)

    def mean_given(self, noisy: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The mean of x where ``a x + b eps`` is ``noisy``."""
        variance = (a * self.std).square() + b.square()
        away = noisy[..., None] - a[..., None] * torch.tensor(self.means)
        share = (torch.tensor(self.weights).log() - away.square() / (2 * variance[..., None])).softmax(-1)
        gain = (a * self.std**2 / variance)[..., None]
        return (share * (torch.tensor(self.means) + gain * away)).sum(-1)

    def cdf(self, value: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The share of ``a x + b eps`` below a value."""
        scale = ((a * self.std).square() + b.square()).sqrt()[..., None]
        away = value[..., None] - a[..., None] * torch.tensor(self.means)
        return (torch.tensor(self.weights) * torch.special.ndtr(away / scale)).sum(-1)

    def density(self, value: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The density of ``a x + b eps``."""
        scale = ((a * self.std).square() + b.square()).sqrt()[..., None]
        away = (value[..., None] - a[..., None] * torch.tensor(self.means)) / scale
        return (torch.tensor(self.weights) * (-away.square() / 2).exp() / (scale * (2 * torch.pi) ** 0.5)).sum(-1)

    def check(self, samples: Tensor, tolerance: float = 0.03) -> None:
        """Samples have the components' shares, means and standard deviation."""
        nearest = (samples[..., None] - torch.tensor(self.means)).abs().argmin(-1)
        for number, (weight, mean) in enumerate(zip(self.weights, self.means, strict=True)):
            own = samples[nearest == number]
            assert abs(len(own) / samples.numel() - weight) < tolerance
            assert abs(float(own.mean()) - mean) < tolerance
            assert abs(float(own.std()) - self.std) < tolerance


GAUSSIAN = World((1.0,), (0.7,), 0.5)
TWO = World((0.3, 0.7), (-1.2, 0.8), 0.2)


class Known(Head):
    """A head that applies a function, off by ``shift + slope * noisy``, which are 0 and can be trained."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.shift, self.slope = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))

    def forward(self, noisy, time, conditions):
        return self.function(noisy, time, conditions) + self.shift + self.slope * noisy


class Constant(Head):
    """A head that predicts the same parameters for every token, whatever it is given: ``[channels]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.values = torch.nn.Parameter(0.5 * torch.randn(channels, generator=generator))

    def forward(self, noisy, time, conditions):
        return self.values.expand(*noisy.shape[:2], -1)


def straight(world: World, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """The means of x and of eps on the path ``(1 - t) x + t eps``."""
    at = time[:, None, None]
    x = world.mean_given(noisy, (1 - at).expand_as(noisy), at.expand_as(noisy))
    return x, (noisy - (1 - at) * x) / at


def fit(head: Head, loss: Callable[[], Tensor], steps: int = 60) -> float:
    """Train a head's few parameters to the optimum of a loss that stays as it is; returns what is left of it."""
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    return float(loss().detach())
