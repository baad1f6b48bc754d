"""Takes a tuning's trials until none is left; each is a child process, as a study's runs are."""

from __future__ import annotations

import sys
from pathlib import Path

from unimm.files import write_atomic, write_json
from unimm.runs.record import GIVEN_UP, TRIAL
from unimm.study.processes import Children, StudyError
from unimm.study.queue import ATTEMPTS
from unimm.study.status import last_lines
from unimm.study.tuning.layout import failures, log_file, record_of, settings_file, trial_folder
from unimm.study.tuning.plan import Trial, TuningPlan, read_tuning_plan
from unimm.study.tuning.trials import Trials
from unimm.study.worker import clear_unclaimed, work_off


def trial_command(settings: Path, out: Path) -> list[str]:
    """The child's command; it continues from the last checkpoint."""
    return [sys.executable, "-m", "unimm", "study", "trial", str(settings), "--out", str(out)]


def work(folder: Path, reports: Path, storage: str | None = None) -> bool:
    """Work on the tuning in `folder` until every trial is done or given up; False if stopped before by a signal."""
    folder, plan, children = folder.resolve(), read_tuning_plan(folder), Children()
    trials = Trials(folder, plan, storage)
    collect(folder, plan, reports)  # a worker that was killed may have finished a trial and not copied it

    def execute(trial: Trial, attempt: int, lock: int) -> None:
        out, log = trial_folder(folder, trial), log_file(folder, trial)
        clear_unclaimed(out)
        code = children.run(trial_command(settings_file(folder, trial), out), log, attempt, lock)
        if record_of(folder, plan, trial) is None:
            raise children.failed(code, log)
        copy(folder, trial, reports)

    return work_off(lambda: trials.work_one(execute), children)


def collect(folder: Path, plan: TuningPlan, reports: Path) -> None:
    """Copy the plan and all finished trials to `reports`, and say which were given up.

    Raises:
        StudyError: `reports` holds something else.
    """
    kept = reports / "plan.json"
    if kept.exists() and read_tuning_plan(reports).hash != plan.hash:
        raise StudyError(f"{reports} holds results of another plan; choose another --collect, or move them away")
    write_atomic(kept, (folder / "plan.json").read_bytes())
    for trial in plan.all_trials:
        if record_of(folder, plan, trial) is not None:
            copy(folder, trial, reports)
        elif failures(folder, trial) >= ATTEMPTS:
            note = {"plan": plan.hash, "log": last_lines(log_file(folder, trial))}
            write_json(trial_folder(reports, trial) / GIVEN_UP, note)


def adopt(reports: Path, plan: TuningPlan, folder: Path) -> None:
    """Take finished trials of the same plan from `reports`; one that is there already is left as it is."""
    for trial in plan.all_trials:
        if record_of(reports, plan, trial) is not None and record_of(folder, plan, trial) is None:
            copy(reports, trial, folder)


def copy(source: Path, trial: Trial, target: Path) -> None:
    """Copy one trial's record."""
    write_atomic(trial_folder(target, trial) / TRIAL, (trial_folder(source, trial) / TRIAL).read_bytes())
