"""Classifier-free guidance (arXiv 2207.12598): conditions are dropped to zeros at times, and sampling extrapolates.

guided = free + g (conditioned - free),   where ``free`` is the prediction under zeros; g = 1 turns guidance off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unimm.components import Head
from unimm.noise import NoiseSource


def kept(share: float, noise: NoiseSource, keys: Sequence[str | int]) -> Bool[Tensor, " b"]:
    """Which samples keep their conditions when a share is dropped; the noise's stream ``dropout`` draws it."""
    return noise.child("dropout").uniform(keys) >= share


def drop(
    conditions: Float[Tensor, "b q h"], share: float, noise: NoiseSource, keys: Sequence[str | int]
) -> Float[Tensor, "b q h"]:
    """The conditions, zeros for a share of the samples."""
    mask = kept(share, noise, keys)
    return conditions * mask.to(conditions.device, conditions.dtype)[:, None, None]


def guided(
    head: Head, noisy: Float[Tensor, "b n d"], now: float, conditions: Float[Tensor, "b q h"], guidance: float
) -> Float[Tensor, "b n d"]:
    """The head's prediction at time ``now``, in float32."""
    batch = len(noisy)
    if guidance == 1:
        predicted: Tensor = head(noisy, noisy.new_full((batch,), now), conditions)
        return predicted.float()
    both = torch.cat([conditions, torch.zeros_like(conditions)])
    given, free = head(torch.cat([noisy, noisy]), noisy.new_full((2 * batch,), now), both).float().chunk(2)
    mixed: Tensor = free + guidance * (given - free)
    return mixed
