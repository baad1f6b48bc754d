"""What can be deleted without losing a result: what is computed again when needed, and leftovers of finished runs.

A finished run keeps its ``last.ckpt``, with the optimiser's state and the averages, for `unimm run ... --extend`; it is
more than half of the folder, and nothing else reads it. Foundations that were built here took hours, and the network of
the FID was brought by somebody, so that neither is ever deleted here.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from unimm.files import CHECKPOINT, cache_folder
from unimm.runs.record import CONFIG, RESULT, unfinished

DAY = 24 * 3600
UNFINISHED = ".*.tmp"  # of a write that was killed (`unimm.files.written`)


class Kept(NamedTuple):
    """One kind of thing that lies in the cache: where, and whether it may be deleted."""

    what: str
    pattern: str
    computed: bool = True


CACHED = (
    Kept("latents", "latents-*.safetensors"),
    Kept("statistics of latents", "statistics-*.safetensors"),
    Kept("prompts read", "prompts-*.safetensors"),
    Kept("ceilings of scores", "ceilings-*.json"),
    Kept("compiled kernels", "compiled"),
    Kept("writes cut short", UNFINISHED),
    Kept("foundations built here", "foundations", computed=False),
    Kept("the FID's network", "inception", computed=False),
)


def cached() -> Iterator[tuple[Kept, list[Path]]]:
    """Every kind of thing in unimm's own cache, and where it lies; kinds of which there is none are left out."""
    for kind in CACHED:
        if paths := sorted(cache_folder().glob(kind.pattern)):
            yield kind, _old(paths) if kind.pattern == UNFINISHED else paths


def in_cache() -> list[Path]:
    """What can be deleted of the cache: all that is computed again when it is needed."""
    return [path for kind, paths in cached() if kind.computed for path in paths]


def leftovers(folder: Path) -> list[Path]:
    """Checkpoints and unfinished writes of the finished runs in a folder: a run's, a study's, or any above them.

    Raises:
        ValueError: there is no such folder, or no finished run in it.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give the folder of a run or of a study, or --cache")
    finished = [Path(place) for place, _, files in os.walk(folder) if RESULT in files]
    if not finished and (folder / CONFIG).is_file():
        raise ValueError(f"{unfinished(folder)}; or delete the folder, as nothing in it can be spared")
    if not finished:
        raise ValueError(f"{folder} holds no finished run (none has {RESULT}), and other runs need all they have")
    found = [[*run.glob(CHECKPOINT), *_old(run.glob(UNFINISHED))] for run in sorted(finished)]
    return [path for paths in found for path in paths]


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def mib(paths: Iterable[Path]) -> str:
    """The size of all of them, as people read it."""
    return f"{sum(map(size, paths)) / 2**20:,.1f} MiB"


def delete(paths: Sequence[Path]) -> None:
    """Delete files, and folders with all that is in them."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _old(paths: Iterable[Path]) -> list[Path]:
    """Those that nobody can be writing any more."""
    return sorted(path for path in paths if time.time() - path.stat().st_mtime > DAY)
