"""The images that a run keeps for its page: one contact sheet, and a list of what stands where on it.

``samples/sheet.png`` has the images row by row, without gaps or labels, and loses nothing: an image that is cut out of
it has the very pixels that were drawn. ``samples/grid.json`` names prompt, verdict and place of each (docs/result.md).
Runs of before have a PNG for every image; they read as well. Imports no torch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from unimm.files import write_atomic

SHEET = "samples/sheet.png"
GRID = "samples/grid.json"
COLUMNS = 6

PixelBox = tuple[int, int, int, int]


class Sample(BaseModel):
    """One image of `samples/grid.json`; `file` is relative to the run, `index` the image's place among all.

    ``correct`` is None where no judge could say. ``box`` is where the image stands on the sheet that `file` names:
    left, top, right and bottom in pixels, the last two exclusive. It is None where the file holds that image only.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: str
    tag: str
    file: str
    correct: bool | None
    index: int
    box: PixelBox | None = None

    @property
    def place(self) -> str | None:
        """Where to look on the sheet, counted from 1, as all images of a sheet are as large; None without a sheet."""
        if self.box is None:
            return None
        left, top, right, bottom = self.box
        return f"row {top // (bottom - top) + 1}, column {left // (right - left) + 1}"


def write_sheet(out: Path, images: NDArray[np.uint8], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write sheet and list into the run ``out``; single images of before, which the sheet replaces, go.

    Args:
        out: the run's folder.
        images: n x height x width x 3, at least one.
        rows: prompt, tag, correct and index of every image, in the same order.
    """
    sheet, boxes = arranged(images, COLUMNS)
    listed = [{**row, "file": SHEET, "box": box} for row, box in zip(rows, boxes, strict=True)]
    write_atomic(out / SHEET, _png(Image.fromarray(sheet), optimize=True))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in listed)  # a line an image, for who looks it up
    write_atomic(out / GRID, f"[\n{lines}\n]\n")
    for single in (out / SHEET).parent.glob("[0-9]*.png"):
        single.unlink()


def arranged(images: NDArray[np.uint8], columns: int) -> tuple[NDArray[np.uint8], list[PixelBox]]:
    """Images (n x height x width x 3) row by row on one sheet, without gaps or labels, and where each stands."""
    count, height, width = images.shape[:3]
    columns = min(count, columns)
    sheet = np.zeros((-(-count // columns) * height, columns * width, 3), dtype=np.uint8)
    boxes = []
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = image
        boxes.append((left, top, left + width, top + height))
    return sheet, boxes


def read_image(run_dir: Path, sample: Sample) -> bytes:
    """The PNG of one sample, cut out of its sheet where it stands on one.

    Raises:
        ValueError: the file lies outside the run, is missing or no image, or the sample's place is not on it.
    """
    path = (run_dir / sample.file).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        raise ValueError(f"{GRID} names {sample.file}, outside the run folder {run_dir}")
    if not path.is_file():
        raise ValueError(f"{path} is missing: sample the run again, or drop it from {GRID}")
    if sample.box is None:
        return path.read_bytes()
    sheet = _sheet(path, path.stat().st_mtime_ns)
    left, top, right, bottom = sample.box
    if not (0 <= left < right <= sheet.width and 0 <= top < bottom <= sheet.height):
        size = f"{sheet.width} x {sheet.height} pixels"
        raise ValueError(f"{GRID} places image {sample.index} at {sample.box}, but {path} has {size}: restore both")
    return _png(sheet.crop(sample.box))


@lru_cache(maxsize=16)  # a study's grid takes one image of every arm in turn
def _sheet(path: Path, _changed: int) -> Image.Image:
    try:
        with Image.open(path) as sheet:
            sheet.load()
            return sheet
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image: restore it, or sample the run again") from error


def _png(image: Image.Image, **settings: bool) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "png", **settings)
    return stream.getvalue()
