"""Child processes and their locks, and how a run can end without a result.

A child is started with its lock, its output in a log, and stopped by whoever stops the worker. The kernel lets go of a
lock on a file when the last process that holds it is gone, however it went; a child that inherits the descriptor holds
the lock as well, so a run stays locked while anything may write its folder. It is the child's standard input, an empty
file: of all descriptors this is the one that the ranks inherit which torchrun starts in turn.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Self

from unimm.runs.record import FAILED
from unimm.study.layout import REFUSED
from unimm.study.tether import tethered
from unimm.user_errors import MISTAKE

LAUNCHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID")


class StudyError(ValueError):
    """A study file, a study folder or a command that does not fit the other two."""


class Crashed(Exception):
    """The run failed by itself; it counts as an attempt."""


class Refused(Crashed):
    """The run says that it cannot be made as it was planned: another attempt would end alike."""


class Stopped(Exception):
    """The worker was asked to stop; the run is left with its checkpoint."""


class Lock:
    """A lock on `path`, held from a successful `acquire` until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def acquire(self, *, wait: bool) -> bool:
        """Take the lock; without `wait`, False if another process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)  # less the umask
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


class Children:
    """Runs one child after the other; SIGTERM and SIGINT stop the present one, and then nothing more is to start."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def listen(self) -> None:
        """Take the signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Only passes the wish on, so that nothing is interrupted half-way."""
        self.stopping = True
        if self.process is not None:
            self.process.terminate()

    def run(self, command: Sequence[str], log: Path, attempt: int, lock: int) -> int:
        """Run a command to its end, its output appended to the log; returns the exit code.

        The descriptor `lock` is the child's standard input, so that the run stays locked while it and its ranks live.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            stream.write(f"--- attempt {attempt}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
            stream.flush()
            # A session of its own: Ctrl-C reaches the child once, through the worker.
            self.process = subprocess.Popen(
                tethered(list(command)),
                stdin=lock,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A launcher may have started several workers: their runs are no ranks of each other.
                env={name: value for name, value in os.environ.items() if name not in LAUNCHERS},
            )
            if self.stopping:  # the signal came before there was a child to pass it on to
                self.process.terminate()
            code = self.process.wait()
            self.process = None
            return code

    def failed(self, code: int, log: Path) -> Exception:
        """What to raise for a child that left no result, noted in the log unless it was stopped."""
        if self.stopping:
            return Stopped()
        reason = f"exit code {code}" if code else "exit code 0, but no result of the planned configuration"
        if code == MISTAKE:
            reason = REFUSED
        with log.open("ab") as stream:
            # A child that is killed leaves half a progress bar, and the mark has to begin a line.
            stream.write(f"\n{FAILED}{reason}\n".encode())
        return Refused(reason) if code == MISTAKE else Crashed(reason)
