"""What it costs to hash every sample while its latents are cached, as a share of the encoding.

    .venv/bin/python experiments/benchmark_hashes.py

Writes tars of 300 JPEGs of 512 pixels and of 1,000 PNGs of 64, with captions, and encodes each at 64 pixels with the
foundation's CLIP and VAE, the smallest encoders that there are. The hashes' part is the CPU time of hashing all samples
and reading their captions; images are read once in any case.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unimm.data.cache import compute_latents
from unimm.data.content import hash_of
from unimm.data.shards import Shards
from unimm.foundation.folder import Foundation
from unimm.registry import encoders

CPU = torch.device("cpu")


def picture(rng: np.random.Generator, side: int, kind: str) -> bytes:
    """Soft blobs with a little noise, which a codec finds about as hard as a photograph."""
    coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    pixels = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()


def tars(folder: Path, count: int, side: int, kind: str) -> Shards:
    """A tar of so many pictures, as a source of images of 64 pixels."""
    folder.mkdir()
    rng, suffix = np.random.default_rng(0), {"JPEG": "jpg", "PNG": "png"}[kind]
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number in range(count):
            members = {suffix: picture(rng, side, kind), "txt": b"a caption of some words"}
            for name, data in members.items():
                entry = tarfile.TarInfo(f"{number}.{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return Shards(Shards.Config(path=str(folder)), 64)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of one call, the fastest of three."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def main() -> None:
    """Print one line for each set and encoder."""
    torch.set_num_threads(1)
    foundation = Foundation("scenes-nano")
    with tempfile.TemporaryDirectory() as folder:
        for count, side, kind in ((300, 512, "JPEG"), (1000, 64, "PNG")):
            source = tars(Path(folder) / kind, count, side, kind)
            read = [source.image_bytes(index) for index in range(count)]
            hashing = cpu_seconds(lambda: [hash_of(read[i], source.text_bytes(i)) for i in range(count)])  # noqa: B023
            for name in ("clip", "vae"):
                cls: Any = encoders.get(name)
                encoder = cls.build(cls.Config(), foundation)
                whole = cpu_seconds(lambda: compute_latents(encoder, source, CPU))  # noqa: B023
                print(
                    f"{kind} of {side} pixels, {name}: {whole / count * 1e3:.2f} ms an image, "
                    f"hashes {hashing / count * 1e3:.3f} ms ({hashing / whole:.2%})"
                )


if __name__ == "__main__":
    main()
