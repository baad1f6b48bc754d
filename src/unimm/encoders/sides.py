"""Sides of square images in pixels: which ones an encoder takes, which ones a decoder may be asked for, one resize.

A run has one side, that of its source's images (``source.resolution``). Encoders get images of that side and resize
only where they work at another, decoders return images of that side: whatever the target, the scorer sees pictures of
one size. A decoder that draws larger pictures has them shrunk; one that draws smaller ones is refused, because enlarged
pictures would be held against real ones, and the target blamed for what its decoder cannot show.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resized(images: Float[Tensor, "b 3 r r"], side: int, mode: str = "bicubic") -> Float[Tensor, "b 3 s s"]:
    """Images in [0, 1] at another side: one antialiased resize, clamped to [0, 1]; as they are where it is theirs."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode=mode, antialias=True).clamp(0, 1)


def check_side(side: int, unit: int, what: str, setting: str) -> None:
    """ValueError for a side that is no multiple of ``unit`` pixels; says which values of ``setting`` are nearest."""
    if side % unit:
        below = side // unit * unit
        nearest = f"{setting}={below} or {below + unit}" if below else f"{setting}={unit}"
        raise ValueError(f"{what} takes images whose side is a multiple of {unit} pixels, not {side}: {nearest}")


def check_drawn(drawn: int, wanted: int, what: str, fix: str) -> None:
    """ValueError where a decoder that draws ``drawn`` pixels a side would have to be enlarged to ``wanted``."""
    if drawn < wanted:
        raise ValueError(
            f"{what} draws {drawn} pixels a side, but the run's images have {wanted}, and enlarged pictures are not "
            f"scored beside real ones: {fix}"
        )
