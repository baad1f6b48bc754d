"""Encoded images to pixels: within limits, upright, transparent parts on white, resized and cropped.

A JPEG, PNG or WebP file becomes pixels within limits that hostile or damaged files cannot pass: sizes are read from its
header and refused before anything is decompressed, and only these three formats are tried, since Pillow also knows ones
that start other programs. The transform is BLIP3-o's: short side to the resolution (bicubic), centre crop.

Transparency comes as an alpha channel or, in PNGs, as one colour that the file names (tRNS; modes 1, L, RGB, P). A
pixel of opacity a and colour c on white is ``a c + (1 - a) 255``.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from unimm.data.source import Unusable

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = ("jpg", "jpeg", "png", "webp")
IMAGE_BYTES = 1 << 26
OPAQUE, TRANSPARENT = {"1", "L", "RGB", "CMYK", "YCbCr", "P"}, {"LA", "PA", "RGBA", "RGBa", "La"}
# Pillow stretches samples of 2 and 4 bits to 8 and cuts those of 16, but leaves the colour that tRNS names as it was.
STRETCHED = {"L;2": 255 // 3, "L;4": 255 // 15}
CUT = {"RGB;16B": 8}
# Part of the key of latent caches: to be changed with whatever changes pixels.
TRANSFORM = "short side bicubic, centre crop, v2"


class Limits(NamedTuple):
    """Images with a side under ``min_side`` are tiny; with more than ``max_pixels`` pixels, too large."""

    min_side: int
    max_pixels: int


class Header(NamedTuple):
    """What a file says of itself before it is decoded."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Format and size; raises `Unusable` if the bytes are none of the formats."""
    with open_image(data) as image:
        return Header(str(image.format), *image.size)


def decode(data: bytes, resolution: int, limits: Limits) -> UInt8[Tensor, "3 s s"]:
    """RGB pixels; transparent ones stand on white. Raises `Unusable`."""
    with open_image(data) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise Unusable("too_large", f"{width} x {height} pixels")
        if min(width, height) < limits.min_side:
            raise Unusable("tiny", f"{width} x {height} pixels")
        shown = upright(image)
        if shown.mode == "RGBA":
            shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
        pixels = np.asarray(ImageOps.fit(shown, (resolution, resolution), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def open_image(data: bytes) -> Image.Image:
    """The image before it is decompressed; raises `Unusable` if the bytes are none of the formats."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Unusable("too_large", str(error)) from error
    except Exception as error:
        raise Unusable("broken", f"no {', '.join(FORMATS)} file: {type(error).__name__}") from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF entry says: RGBA where it may be transparent, else RGB.

    Raises `Unusable` for a damaged file, and for pixels of more than 8 bits that Pillow would cut off at 255.
    """
    try:
        _match_key_to_pixels(image)
        turned = ImageOps.exif_transpose(image)
        if turned.mode not in OPAQUE | TRANSPARENT:
            raise Unusable("broken", f"pixels of kind {turned.mode}, which have more than 8 bits")
        maybe_transparent = turned.mode in TRANSPARENT or "transparency" in turned.info
        return turned.convert("RGBA" if maybe_transparent else "RGB")
    except Unusable:
        raise
    except Exception as error:  # Pillow raises almost anything on damaged files
        raise Unusable("broken", f"{type(error).__name__}: {error}") from error


def _match_key_to_pixels(image: Image.Image) -> None:
    """Give the transparent colour of a PNG the depth that its pixels will have once they are read."""
    tiles = image.tile if isinstance(image, PngImageFile) else []
    raw = str(tiles[0].args) if tiles else ""
    key = image.info.get("transparency")
    if raw in STRETCHED and isinstance(key, int):
        image.info["transparency"] = key * STRETCHED[raw]
    if raw in CUT and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> CUT[raw] for value in key)


def check_size(size: int) -> None:
    """Raise `Unusable` for a file of so many bytes, before it is read."""
    if size > IMAGE_BYTES:
        raise Unusable("too_large", f"a file of {size} bytes")
