"""Where everything of a tuning lies, when a trial counts as done, and how often one has failed."""

from __future__ import annotations

from pathlib import Path

from unimm.runs.record import TRIAL, TrialRecord
from unimm.study.processes import FAILED
from unimm.study.tuning.plan import Trial, TuningPlan

FORGIVEN = "--- given new attempts\n"


def trial_folder(folder: Path, trial: Trial) -> Path:
    """The folder in which one trial trains."""
    return folder / "trials" / trial.arm / f"trial{trial.number}"


def settings_file(folder: Path, trial: Trial) -> Path:
    """What one trial is told; once it exists, the trial has these settings whoever makes it."""
    return folder / "settings" / f"{trial.arm}-trial{trial.number}.json"


def log_file(folder: Path, trial: Trial) -> Path:
    """What one trial printed, attempt after attempt."""
    return folder / "logs" / f"{trial.arm}-trial{trial.number}.log"


def lock_file(folder: Path, trial: Trial) -> Path:
    """Locked while a process may write the trial's folder."""
    return folder / "locks" / f"{trial.arm}-trial{trial.number}.lock"


def record_of(folder: Path, plan: TuningPlan, trial: Trial) -> TrialRecord | None:
    """The trial's record if it is done under this plan: `trial.json` is written last, so it is whole."""
    path = trial_folder(folder, trial) / TRIAL
    if not path.is_file():
        return None
    record = TrialRecord.model_validate_json(path.read_text(encoding="utf-8"))
    return record if record.settings.plan == plan.hash else None


def failures(folder: Path, trial: Trial) -> int:
    """How often a trial has failed by itself since it was last given new attempts."""
    log = log_file(folder, trial)
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return sum(line.startswith(FAILED) for line in text.rpartition(FORGIVEN)[2].splitlines())
