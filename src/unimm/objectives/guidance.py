"""Classifier-free guidance (arXiv 2207.12598): conditions are dropped to zeros at times, and sampling extrapolates.

guided = free + g (conditioned - free),   where ``free`` is the prediction under zeros; g = 1 turns guidance off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    head: Head, conditions: Float[Tensor, "b q h"], guidance: float
) -> Callable[[Float[Tensor, "b n d"], float], Float[Tensor, "b n d"]]:
    """(noisy, now) to the head's prediction at time ``now``, in float32: both of its passes in one batch."""
    if guidance == 1:
        predict = head.given(conditions)
        return lambda noisy, now: predict(noisy, noisy.new_full((len(noisy),), now)).float()
    predict_both = head.given(torch.cat([conditions, torch.zeros_like(conditions)]))

    def mixed(noisy: Float[Tensor, "b n d"], now: float) -> Float[Tensor, "b n d"]:
        both = predict_both(torch.cat([noisy, noisy]), noisy.new_full((2 * len(noisy),), now))
        given, free = both.float().chunk(2)
        result: Tensor = free + guidance * (given - free)
        return result

    return mixed
