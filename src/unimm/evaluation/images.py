"""Images for scoring: resized where a model needs its own size, and read from a folder of PNG files."""

from __future__ import annotations

import hashlib

import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


def at_resolution(images: UInt8[Tensor, "m 3 h w"], side: int) -> UInt8[Tensor, "m 3 s s"]:
    """Images as they are, or resized with antialiased bicubic interpolation where their size differs."""
    if images.shape[-2:] == (side, side):
        return images
    resized = F.interpolate(images.float(), size=(side, side), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).byte()


def fingerprint(images: UInt8[Tensor, "m 3 h w"]) -> str:
    """A short hash of the images' bytes: which reference a distance was taken to."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
