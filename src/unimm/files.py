"""Where files lie; reads that name a file that is no text; writes that survive a crash and honour the umask.

A write goes to a temporary file in the same folder: fsync, rename, fsync of the folder. A reader sees the old file or
the whole new one, never a half, so a `result.json` that exists is complete. Libraries write through `written`: some
give their files to their owner alone (safetensors 0.8: mode 0600), and a run or a cache is for colleagues too, so every
file gets the mode that `open` gives one here. A disk that is full is said with the file that did not fit.
"""

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

# What training leaves in a run's folder; `unimm.runs.record` names what comes after it.
METRICS, WEIGHTS, AVERAGES = "metrics.jsonl", "weights.safetensors", "averages"
CHECKPOINT, START = "last.ckpt", "start.safetensors"
EXPORTED = "model_index.json"  # in the folder of an exported model


def cache_folder() -> Path:
    """Where what can be computed again is kept: ``$UNIMM_CACHE`` or ``~/.cache/unimm``."""
    return Path(os.environ.get("UNIMM_CACHE") or Path.home() / ".cache" / "unimm")


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written or replaced, without reading it: inode, size and time of change."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class WriteError(OSError):
    """A file could not be written; what it held before is whole. The text says which file, why, and what to do."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(error.errno if isinstance(error, OSError) else None, str(error))
        full = self.errno in (errno.ENOSPC, errno.EDQUOT) or "o space left" in str(error)
        if full:
            self.errno = errno.ENOSPC
        why = os.strerror(self.errno) if self.errno else str(error)
        mend = "; make room there and start again: what was written before is whole" if full else ""
        self.message = f"cannot write {path}: {why}{mend}"

    def __str__(self) -> str:
        return self.message


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` with `data` (text is UTF-8), creating its folder where needed; WriteError names the file."""
    with written(path, shared=True) as temporary, open(temporary, "wb") as stream:
        stream.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def written(path: Path, shared: bool = False) -> Iterator[Path]:
    """A file for a library to write, which takes the place of `path` when the block ends well, and else goes.

    Args:
        path: the file; its folder is made where needed.
        shared: whether several processes may write `path` at once. A file of one writer has one temporary name, so
            that one killed half-way leaves no more than one of them, whatever its size.

    Raises:
        WriteError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp" if shared else f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb"):  # by `open`, for the mode that umask and folder give
            mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise WriteError(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``folder`` when the block ends well, and else goes.

    Raises:
        FileExistsError: ``folder`` holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: give a new or empty folder")
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def append(path: Path, line: str) -> None:
    """Add a line of text; one that a full disk cut short is completed by none, and readers of logs skip it."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line)
    except OSError as error:
        raise WriteError(path, error) from error


def as_readable_as(example: Path, folder: Path) -> None:
    """Give every file below ``folder`` the mode of ``example``, where a library wrote several by itself."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(example.stat().st_mode)


def read_text(path: Path, mend: str = "save it as UTF-8") -> str:
    """The text of a UTF-8 file, without a byte order mark; line ends are made ``\\n``.

    Raises ValueError with the file's name and the place for another encoding. UTF-16 of plain letters is valid UTF-8
    with a NUL after each, which no text of people holds.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte 0x{data[error.start]:02x} at position {error.start}): {mend}"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} holds NUL characters, as UTF-16 does: {mend}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, mend: str) -> Any:
    """What a JSON file holds; ValueError names one that was cut short or is none, with `mend`, what to do."""
    return parse_json(read_text(path, mend), str(path), mend)


def parse_json(text: str, where: str, mend: str) -> Any:
    """The value of JSON text; ValueError says ``where`` it is none, and `mend`, what to do."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is cut short or no JSON ({error}): {mend}") from error


def read_object(path: Path, mend: str) -> dict[str, Any]:
    """A JSON file that holds an object; ValueError as `read_json`, and for any other value."""
    value = read_json(path, mend)
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object: {mend}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write `value` as `as_json` has it."""
    write_atomic(path, as_json(value))


def as_json(value: Any) -> str:
    """`value` as indented, standard JSON; NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
