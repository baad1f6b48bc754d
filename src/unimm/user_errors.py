"""What ends a verb early: mistakes of the user as one message and exit code 2, and a signal that stops training."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

MISTAKE, MACHINE = 2, 1
# What another attempt may not meet again: no room, a network disk that hangs, too many files or processes.
TRANSIENT = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ETIMEDOUT", "EINTR")
    if hasattr(errno, name)
)
PACKAGE = Path(__file__).parent


class Interrupted(Exception):
    """Training was stopped by a signal; the checkpoint is written."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn mistakes of the user into one message on stderr and exit code 2; bugs keep their traceback.

    What the machine lacks for now, such as room on its disk, ends with exit code 1: a study tries such a run again.
    """
    try:
        yield
    except MemoryError as error:
        _end_progress()
        typer.echo(f"error: not enough memory ({error}): lower sizes or resolutions, or free some", err=True)
        raise typer.Exit(MACHINE) from error
    except (ValueError, OSError) as error:
        if isinstance(error, ValueError) and not raised_here(error):
            raise
        if isinstance(error, BrokenPipeError):  # whoever read the output has seen enough, as `| head` has
            raise
        _end_progress()
        typer.echo(f"error: {_said(error)}", err=True)
        raise typer.Exit(MACHINE if isinstance(error, OSError) and error.errno in TRANSIENT else MISTAKE) from error


def _said(error: ValueError | OSError) -> str:
    """The message; where a file stands in a folder's place, or the other way round, the system's own says little."""
    if isinstance(error, OSError) and error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            in_the_way = next((place for place in (path, *path.parents) if place.is_file()), path)
            return f"{in_the_way} is a file, and a folder is needed there: give another path"
        if error.errno == errno.EISDIR:
            return f"{path} is a folder, and a file is needed there: give another path"
    return str(error)


def _end_progress() -> None:
    """Close progress bars that the error interrupted, so that the message has a line of its own."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()


def raised_here(error: ValueError) -> bool:
    """Whether unimm itself raised the error: a ValueError from inside a library is a bug, not advice."""
    last = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return Path(last.f_code.co_filename).is_relative_to(PACKAGE)
