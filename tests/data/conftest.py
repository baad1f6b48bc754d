"""Encoded images, good and bad, and sets of them on disk."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unimm.data.source import Context
from unimm.scenes.world import world

CONTEXT = Context(world("scenes-nano"), 16, 12)


def encoded(number: int, side: int = 40, kind: str = "PNG") -> bytes:
    """A picture of noise that only this number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side + number % 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def png(side: int, depth: int, colour: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG put together by hand: bits a sample, colour type, filtered rows, and chunks that stand before them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = {"IHDR": struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0), **chunks}
    parts |= {"IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name.encode(), data) for name, data in parts.items())


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it holds 50,000 x 50,000 pixels."""
    return png(50_000, 8, 2, b"\0" * 10_000)


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """A tar with these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def sample(number: int, **record: Any) -> dict[str, bytes]:
    """The members of one sample: an image, a caption, and a record if there is one."""
    members = {f"{number:04d}.png": encoded(number), f"{number:04d}.txt": f"caption {number}".encode()}
    return members | ({f"{number:04d}.json": json.dumps(record).encode()} if record else {})


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Thirty samples in three tars, of which number 7 is broken, 13 tiny and 20 has an empty caption."""
    folder = tmp_path / "tars"
    for shard in range(3):
        members: dict[str, bytes] = {}
        for number in range(shard * 10, shard * 10 + 10):
            members |= sample(number)
        bad = {"0007.png": encoded(7)[:200], "0013.png": encoded(13, side=8), "0020.txt": b" \n"}
        members |= {name: data for name, data in bad.items() if name in members}
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder
