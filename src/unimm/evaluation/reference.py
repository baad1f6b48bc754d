"""Real images that a run brings for comparison: a folder of pictures, or of tars as training reads them.

They are cut and resized as training images are (`unimm.data.decode`), so that pictures of the run's side come in as
they are. Where there are more than wanted, those that are taken lie evenly among all, in the order of their names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.data.decode import Limits, decode
from unimm.data.shards import Shards
from unimm.data.source import Unusable
from unimm.evaluation.images import pictures_in
from unimm.progress import progress

FEWEST = 6  # each with five neighbours
ANY = Limits(min_side=1, max_pixels=50_000_000)


def reference_images(folder: Path, count: int, side: int) -> UInt8[Tensor, "r 3 s s"]:
    """At most ``count`` images of a folder, ``side`` pixels a side.

    Raises:
        ValueError: no such folder, fewer than six images, or one that cannot be read (in tars: such are passed over).
    """
    if not folder.is_dir():
        raise ValueError(f"evaluation.reference: no folder {folder}; give one of pictures or of tars, or none")
    images = _of_tars(folder, count, side) if any(folder.glob("*.tar")) else _of_files(folder, count, side)
    if len(images) < FEWEST:
        raise ValueError(f"evaluation.reference: {folder} has {len(images)} images, and distances need {FEWEST}")
    return torch.stack(images)


def _of_files(folder: Path, count: int, side: int) -> list[Tensor]:
    files = pictures_in(folder, below=True)

    def read(number: int) -> Tensor:
        try:
            return decode(files[number].read_bytes(), side, ANY)
        except Unusable as problem:
            raise ValueError(f"{files[number]} cannot be read: {problem}; take it out, or save it again") from problem

    return _evenly(read, len(files), count)


def _of_tars(folder: Path, count: int, side: int) -> list[Tensor]:
    shards = Shards(Shards.Config(path=str(folder), min_side=1), side)

    def read(number: int) -> Tensor | None:
        try:
            return shards.image(number)
        except Unusable:
            return None

    return _evenly(read, len(shards), count)


def _evenly(read: Callable[[int], Tensor | None], there: int, count: int) -> list[Tensor]:
    number = min(there, count)
    chosen = [place * there // number for place in range(number)]
    found = (read(place) for place in progress(chosen, "reading the reference", "image"))
    return [image for image in found if image is not None]
