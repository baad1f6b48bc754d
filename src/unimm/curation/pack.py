"""Pack images and captions into WebDataset tars, as BLIP3o-Pretrain ships them, with their offset index.

A sample is ``KEY.png`` (or jpg, webp), ``KEY.txt`` with one caption, and ``KEY.json`` where there is more to say: short
and long captions, questions. Tars of the same samples are the same bytes: names are numbers, times and owners are zero.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from unimm.data.captions import Texts
from unimm.data.decode import decode, read_header
from unimm.data.files_source import FilesSource
from unimm.data.scenes import SceneSet
from unimm.data.source import Refused, Unusable
from unimm.data.tar_index import FILE, TarIndex, build_index
from unimm.scenes.questions import ask_any
from unimm.scenes.stream import SPLITS
from unimm.scenes.world import World

QUESTIONS = 3
UNFINISHED = ".unfinished"
# Pillow opens a JPEG with several pictures, as cameras write them for previews, as MPO.
SUFFIX = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
SAVE: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpg": {"format": "JPEG", "quality": 95},
    "webp": {"format": "WEBP", "quality": 95},
}


class PackedSample(NamedTuple):
    """An encoded image with its suffix, and its texts."""

    image: bytes
    suffix: str
    texts: Texts


def pack(samples: Iterable[PackedSample], out: Path, shard_size: int, total: int) -> TarIndex:
    """Write tars of ``shard_size`` samples into ``out``, and their index; ``total`` is for the progress bar.

    Tars get their names once all are written: what a stopped packing leaves is no smaller set that looks whole, and
    the next one writes over it.

    Raises:
        FileExistsError: ``out`` holds tars already.
    """
    if any(out.rglob("*.tar")):
        raise FileExistsError(f"{out} holds tars already; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"*{UNFINISHED}"):
        left.unlink()
    numbered = enumerate(tqdm(samples, total=total, desc="packing", unit="image"))
    written: list[Path] = []
    while chunk := list(islice(numbered, shard_size)):
        written.append(out / f"{len(written):05d}{UNFINISHED}")
        _write(written[-1], chunk)
    for path in written:
        os.replace(path, path.with_suffix(".tar"))
    index = build_index(out)
    index.save(out / FILE)
    return index


def _write(path: Path, samples: list[tuple[int, PackedSample]]) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number, sample in samples:
            for suffix, data in _members(sample):
                entry = tarfile.TarInfo(f"{number:08d}.{suffix}")
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))


def _members(sample: PackedSample) -> Iterator[tuple[str, bytes]]:
    short, long, plain, questions = sample.texts[:4]
    yield sample.suffix, sample.image
    yield "txt", (plain + long + short)[0].encode()
    if short or long or questions or len(plain) > 1:
        entries = {"short": short, "long": long, "caption": plain, "questions": questions}
        yield "json", json.dumps({key: value for key, value in entries.items() if value}, ensure_ascii=False).encode()


def scene_samples(world: World, split: str, count: int, resolution: int, suffix: str) -> Iterator[PackedSample]:
    """Rendered scenes with both captions and questions; of ``train``, the ones that runs on scenes train on."""
    if suffix not in SAVE or split not in SPLITS:
        raise ValueError(f"formats are {', '.join(SAVE)} and splits {', '.join(SPLITS)}, not {suffix!r} and {split!r}")
    scenes = SceneSet(world, split, count, resolution, half=0 if split == "train" else None)
    for number, sample in enumerate(scenes.samples):
        stream = io.BytesIO()
        pixels = scenes.pixels[number].permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(stream, **SAVE[suffix])
        drawn = (ask_any(sample.scene, world, np.random.default_rng([number, 61, k])) for k in range(QUESTIONS))
        questions = tuple((question.text, question.answer) for question in drawn)
        yield PackedSample(stream.getvalue(), suffix, Texts((sample.short,), (sample.long,), (), questions))


def source_samples(source: FilesSource, left_out: list[Refused]) -> Iterator[PackedSample]:
    """Samples of another set with their images byte for byte; those that cannot be used go to ``left_out``."""
    for index in range(len(source)):
        try:
            image, texts = source.image_bytes(index), source.texts(index)
            decode(image, source.resolution, source.config.limits)
        except Unusable as problem:
            left_out.append(Refused(source.key(index), problem.reason, str(problem)))
        else:
            yield PackedSample(image, SUFFIX[read_header(image).format], texts)
