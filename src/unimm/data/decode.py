"""From the bytes of a JPEG, PNG or WebP file to pixels, with limits that hostile or damaged files cannot pass.

The transform is BLIP3-o's: short side to the resolution (bicubic), centre crop. Sizes are read from the file's header
and refused before anything is decompressed; only three formats are tried, since Pillow also knows ones that start
other programs.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from unimm.data.source import Unusable

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = ("jpg", "jpeg", "png", "webp")
IMAGE_BYTES = 1 << 26
OPAQUE, TRANSPARENT = {"1", "L", "RGB", "CMYK", "YCbCr"}, {"LA", "PA", "RGBA", "RGBa", "La"}
TRANSFORM = "short side bicubic, centre crop, v1"


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
    with _open(data) as image:
        return Header(str(image.format), *image.size)


def decode(data: bytes, resolution: int, limits: Limits) -> UInt8[Tensor, "3 s s"]:
    """RGB pixels; transparent ones stand on white. Raises `Unusable`."""
    with _open(data) as image:
        width, height = image.size
        if width * height > limits.max_pixels:
            raise Unusable("too_large", f"{width} x {height} pixels")
        if min(width, height) < limits.min_side:
            raise Unusable("tiny", f"{width} x {height} pixels")
        try:
            pixels = np.asarray(_rgb(image, resolution))
        except Unusable:
            raise
        except Exception as error:  # Pillow raises almost anything on damaged files
            raise Unusable("broken", f"{type(error).__name__}: {error}") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Unusable("too_large", str(error)) from error
    except Exception as error:
        raise Unusable("broken", f"no {', '.join(FORMATS)} file: {type(error).__name__}") from error


def _rgb(image: Image.Image, resolution: int) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    if turned.mode == "P":
        turned = turned.convert("RGBA")
    if turned.mode in TRANSPARENT:
        turned = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned)
    elif turned.mode not in OPAQUE:
        raise Unusable("broken", f"pixels of kind {turned.mode}, which have more than 8 bits")
    return ImageOps.fit(turned.convert("RGB"), (resolution, resolution), Image.Resampling.BICUBIC)
