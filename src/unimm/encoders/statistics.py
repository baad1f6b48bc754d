"""Exact per-channel mean and standard deviation of latents, by two passes in float64, and the scaling they define."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Statistics(nn.Module):
    """Per-channel ``mean`` and ``std`` as buffers; latents are ``[..., channels]``."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, " d"], std: Float[Tensor, " d"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    def standardise(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Zero mean and unit variance in every channel."""
        return (latents - self.mean) / self.std

    def restore(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The inverse of `standardise`."""
        return latents * self.std + self.mean


def blank(channels: int) -> Statistics:
    """Statistics that change nothing, for ``load_state_dict`` to fill."""
    return Statistics(torch.zeros(channels), torch.ones(channels))


def measure(batches: Callable[[], Iterable[Tensor]]) -> Statistics:
    """Two passes over ``batches()`` (each ``[..., channels]``): the mean first, then squared distances to it."""
    count, total = 0, torch.zeros(())
    for batch in batches():
        flat = batch.reshape(-1, batch.shape[-1]).double()
        count, total = count + len(flat), total + flat.sum(0)
    mean, squares = total / count, torch.zeros(())
    for batch in batches():
        squares = squares + (batch.reshape(-1, batch.shape[-1]).double() - mean).square().sum(0)
    return Statistics(mean, (squares / count).sqrt())
