"""Where files lie, and writes that survive a crash: temp file in the same folder, fsync, rename, fsync of the folder.

A reader sees the old file or the whole new one, never a half, so a `result.json` that exists is complete.
"""

import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

# What training leaves in a run's folder; `unimm.runs.record` names what comes after it.
METRICS, WEIGHTS, AVERAGES = "metrics.jsonl", "weights.safetensors", "averages"
CHECKPOINT, START = "last.ckpt", "start.safetensors"


def cache_folder() -> Path:
    """Where what can be computed again is kept: ``$UNIMM_CACHE`` or ``~/.cache/unimm``."""
    return Path(os.environ.get("UNIMM_CACHE") or Path.home() / ".cache" / "unimm")


def read_text(path: Path) -> str:
    """A text file of the user's: UTF-8, with or without a byte order mark; line ends are made ``\\n``.

    Raises ValueError with the file's name for another encoding. UTF-16 of plain letters is valid UTF-8 with a NUL after
    each, which no text of people holds.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} holds NUL characters, as UTF-16 does: save it as UTF-8")
    return text


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` with `data` (text is UTF-8), creating its folder where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data.encode("utf-8") if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def replace(temporary: Path, path: Path) -> None:
    """Let a file that a library has written take the place of `path`, once it is surely on the disk."""
    with open(temporary, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented, standard JSON; NaN and infinities, which JSON lacks, become null."""
    write_atomic(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """`value` with every non-finite float replaced by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, on systems where a folder can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
