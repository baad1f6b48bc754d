"""Where everything of a study or a tuning lies: both hand out units of work, an arm with a number, to child processes.

A run of a study is an arm with a seed, a trial of a tuning an arm with settings. Both have a folder, a file that tells
the child what to do, a log and a lock; their plans (`plan.py`) say when one is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from unimm.runs.record import FAILED

STUDIES = Path("experiments/runs/studies")
REPORTS = Path("reports")
ATTEMPTS = 3
REFUSED = "exit code 2, a mistake that another attempt would repeat"
FORGIVEN = "--- given new attempts\n"


@dataclass(frozen=True)
class Unit:
    """What one child does; `str` of it is its id, and its folder below `room`. Numbers count within the arm."""

    arm: str
    number: int

    word: ClassVar[str]
    room: ClassVar[str]

    def __str__(self) -> str:
        return f"{self.arm}/{self.word}{self.number}"

    @property
    def name(self) -> str:
        """Its name where everything lies in one folder."""
        return f"{self.arm}-{self.word}{self.number}"


class PlannedRun(Unit):
    """One arm with one seed, which is its number."""

    word, room = "seed", "runs"


class PlannedTrial(Unit):
    """One trial of one arm; trial 0 is the arm as it stands."""

    word, room = "trial", "trials"


def unit_folder(folder: Path, unit: Unit) -> Path:
    """The folder that one child writes."""
    return folder / unit.room / str(unit)


def config_file(folder: Path, run: Unit) -> Path:
    """The resolved configuration of one run, for `unimm run`."""
    return folder / "configs" / f"{run.name}.yaml"


def settings_file(folder: Path, trial: Unit) -> Path:
    """What one trial is told; once it exists, the trial has these settings whoever makes it."""
    return folder / "settings" / f"{trial.name}.json"


def log_file(folder: Path, unit: Unit) -> Path:
    """What one child printed, attempt after attempt."""
    return folder / "logs" / f"{unit.name}.log"


def lock_file(folder: Path, unit: Unit) -> Path:
    """Locked while a process may write the unit's folder."""
    return folder / "locks" / f"{unit.name}.lock"


def failures(folder: Path, unit: Unit) -> int:
    """How often a unit has failed by itself since its log says that it was given new attempts.

    A mistake that another attempt would repeat counts as all of them.
    """
    log = log_file(folder, unit)
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    ends = [line for line in text.rpartition(FORGIVEN)[2].splitlines() if line.startswith(FAILED)]
    return ATTEMPTS if any(end.endswith(REFUSED) for end in ends) else len(ends)
