"""Locks on files, held by processes: the kernel lets go when the last process that holds one is gone, however it went.

A child that inherits the descriptor holds the lock as well, so a run stays locked while anything may write its folder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self


class Lock:
    """A lock on `path`, held from a successful `acquire` until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; without `wait`, False if another process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def __enter__(self) -> Self:
        """Wait for the lock."""
        self.acquire(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go, unless that happened before."""
        self.release()

    def release(self) -> None:
        """Let go, if held; children that inherited the descriptor keep the lock."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock."""
    if not path.exists():
        return False
    probe = Lock(path)
    free = probe.acquire(wait=False)
    probe.release()
    return not free
