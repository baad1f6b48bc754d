"""Images for scoring: resized where a model needs its own size, and read from a folder of PNG files."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from unimm.data.cache import at_once

BATCH = 256


def at_resolution(images: UInt8[Tensor, "m 3 h w"], side: int) -> UInt8[Tensor, "m 3 s s"]:
    """Images as they are, or resized with antialiased bicubic interpolation where their size differs."""
    if images.shape[-2:] == (side, side):
        return images
    few = at_once(BATCH, max(images.shape[-2:]))
    return torch.cat([_resized(part, side) for part in images.split(few)])


def _resized(images: UInt8[Tensor, "b 3 h w"], side: int) -> UInt8[Tensor, "b 3 s s"]:
    resized = F.interpolate(images.float(), size=(side, side), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).byte()


def resize_to(images: UInt8[Tensor, "*batch 3 h w"], side: int) -> str:
    """What `at_resolution` does to these images, as a protocol names it."""
    return "none" if images.shape[-2:] == (side, side) else f"bicubic, antialiased, to {side}"


def noted_resize(images: UInt8[Tensor, "*batch 3 h w"], side: int) -> dict[str, str]:
    """The entry of a protocol that names a resize; a protocol without one means images as they were."""
    what = resize_to(images, side)
    return {} if what == "none" else {"resize": what}


def fingerprint(images: UInt8[Tensor, "m 3 h w"]) -> str:
    """A short hash of the images' bytes: which reference a distance was taken to."""
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]
