"""All images of a run, small enough to keep: WebP sheets by task, and a list of what stands where and what was found.

``samples/images-00.webp`` has the images of the first task row by row, as `unimm.runs.samples` lays out the sheet of a
page; ``samples/images.json`` says of each its prompt, verdict, noise key, the objects that the judge found, and its
place. The sheets are for looking: WebP at quality 90 loses a little, and every score was taken from the exact pixels
before (docs/result.md has sizes and losses). Imports no torch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from unimm.files import write_atomic
from unimm.runs.samples import PixelBox, arranged

LISTED = "samples/images.json"
SHEETS = "samples/images-{:02d}.webp"
COLUMNS = 10
SIDE = 8192  # pixels of a sheet's height at most: WebP ends at 16,383, and browsers decode a sheet whole
QUALITY = 90


class FoundObject(BaseModel):
    """One object that the judge found: its box is x1, y1, x2, y2 in pixels, its score how well the shape fits."""

    model_config = ConfigDict(extra="allow", frozen=True)

    colour: str
    shape: str
    box: tuple[float, float, float, float]
    score: float


class KeptImage(BaseModel):
    """One image of `samples/images.json`, in the order of `items.json`.

    ``correct`` and ``reason`` are the judge's on the whole prompt; None where it was not asked. Images of two runs
    with one ``key`` were drawn from equal noise, where their latents have one shape.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    index: int
    prompt: str
    tag: str
    key: str
    correct: bool | None
    reason: str
    found: list[FoundObject]
    file: str
    box: PixelBox


def write_gallery(out: Path, images: NDArray[np.uint8], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write sheets and list into the run ``out``, in place of those that were there.

    Args:
        out: the run's folder.
        images: n x height x width x 3, at least one.
        rows: the fields of `KeptImage` but for index, file and box, of every image in the same order.
    """
    for old in out.glob(SHEETS.replace("{:02d}", "*")):
        old.unlink()
    listed: dict[int, KeptImage] = {}
    for number, shard in enumerate(_shards(rows, images.shape[1])):
        file = SHEETS.format(number)
        sheet, boxes = arranged(images[shard], COLUMNS)
        write_atomic(out / file, _webp(sheet))
        for index, box in zip(shard, boxes, strict=True):
            listed[index] = KeptImage(**rows[index], index=index, file=file, box=box)
    lines = ",\n".join(
        json.dumps(listed[index].model_dump(mode="json"), ensure_ascii=False) for index in sorted(listed)
    )
    write_atomic(out / LISTED, f"[\n{lines}\n]\n")


def _shards(rows: Sequence[Mapping[str, Any]], height: int) -> list[list[int]]:
    """Positions of the images of every sheet: a task's, cut where the sheet would be too high."""
    by_task: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_task.setdefault(str(row["tag"]), []).append(index)
    most = COLUMNS * max(1, SIDE // height)
    return [own[begin : begin + most] for own in by_task.values() for begin in range(0, len(own), most)]


def _webp(sheet: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "webp", quality=QUALITY, method=4)
    return stream.getvalue()
