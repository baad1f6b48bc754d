"""Images for scoring: which files of a folder are pictures, and the resize where a model needs its own size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from unimm.data.cache import at_once
from unimm.data.decode import SUFFIXES

BATCH = 256
# Pictures that other programs read: a folder with one of them would be scored in part.
UNREAD = frozenset(
    ("avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jxl", "pgm", "pnm", "ppm", "tga", "tif", "tiff")
)


def pictures_in(folder: Path, below: bool = False) -> list[Path]:
    """The JPEG, PNG and WebP files of a folder (and of those below it) by name, whatever the case of their suffix.

    Hidden files are none, such as the ``._0.png`` that macOS leaves beside pictures. ValueError for a picture of a kind
    that is not read here, since a part of a folder is another set.
    """
    files = folder.rglob("*") if below else folder.glob("*")
    kinds = {path: path.suffix[1:].lower() for path in files if path.is_file() and not path.name.startswith(".")}
    unread = sorted(path for path, kind in kinds.items() if kind in UNREAD)
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise ValueError(f"{unread[0]}{more}: only {', '.join(SUFFIXES)} are read; convert it, or take it out")
    return sorted(path for path, kind in kinds.items() if kind in SUFFIXES)


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
