"""Damage to images of known strength: what the judge's card and the tests of every metric try them on."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from scipy import ndimage
from torch import Tensor


def blur(images: UInt8[Tensor, "m 3 h w"], strength: float) -> UInt8[Tensor, "m 3 h w"]:
    """A Gaussian blur whose deviation is that share of the width."""
    deviation = strength * images.shape[-1]
    blurred = ndimage.gaussian_filter(images.numpy().astype(np.float32), (0, 0, deviation, deviation))
    return torch.from_numpy(blurred.round().astype(np.uint8))


def noise(images: UInt8[Tensor, "m 3 h w"], strength: float) -> UInt8[Tensor, "m 3 h w"]:
    """Gaussian noise whose deviation is that share of the range; the same values for images of the same shape."""
    drawn = np.random.default_rng(0).normal(0, 255 * strength, tuple(images.shape))
    return torch.from_numpy((images.numpy() + drawn).clip(0, 255).round().astype(np.uint8))
