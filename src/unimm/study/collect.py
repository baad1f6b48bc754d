"""Copies what is worth committing of a study or a tuning, in its own layout, and takes it back on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unimm.files import write_atomic, write_json
from unimm.runs.record import CONFIG, FAILED, GIVEN_UP, ITEMS, PLAN, RESULT
from unimm.runs.samples import GRID
from unimm.runs.trial_record import TRIAL
from unimm.study.layout import ATTEMPTS, PlannedTrial, Unit, failures, lock_file, log_file, unit_folder
from unimm.study.plan import Plan, TuningPlan, has_plan
from unimm.study.processes import Lock, StudyError
from unimm.study.status import last_lines

# Last comes the file that makes a run count as done.
KEPT_OF_RUNS = (
    *(f"*/{name}" for name in (CONFIG, "data_card.json", RESULT)),  # of each stage
    *(CONFIG, ITEMS, "data_card.json", "samples/*.png", GRID, RESULT),
)
KEPT_OF_TRIALS = (TRIAL,)


def collect(folder: Path, plan: Plan, reports: Path) -> int:
    """Copy the plan and everything finished to `reports`, and why the rest failed; returns how many are finished.

    Several workers may do this at once: files are replaced whole, and all of them write the same.

    Raises:
        StudyError: `reports` holds the results of another plan.
    """
    committed = plan.read(reports) if has_plan(reports) else None
    if committed and not plan.extends(committed, reports / PLAN):
        raise StudyError(f"{reports} holds results of another plan; choose another --collect, or move them away")
    if committed is None or plan.amended_since(committed):
        write_atomic(reports / PLAN, (folder / PLAN).read_bytes())
    done = [unit for unit in plan.units if plan.is_done(folder, unit)]
    for unit in done:
        collect_unit(folder, unit, reports)
    for unit in set(plan.units) - set(done):
        if note := _failure(folder, plan, unit):
            write_json(unit_folder(reports, unit) / GIVEN_UP, note)
    return len(done)


def collect_unit(folder: Path, unit: Unit, reports: Path) -> None:
    """Copy one finished run or trial to `reports`."""
    _copy(folder, unit, reports)
    (unit_folder(reports, unit) / GIVEN_UP).unlink(missing_ok=True)


def adopt(reports: Path, folder: Path, plan: Plan) -> None:
    """Take what is finished under the same plan from `reports`; what is finished already is left as it is."""
    for unit in plan.units:
        if plan.is_done(reports, unit):
            _adopt_unit(reports, folder, plan, unit)


def _failure(folder: Path, plan: Plan, unit: Unit) -> dict[str, Any] | None:
    """Why a unit failed, which is a finding too; its log stays on the machine that made it.

    A run may still be tried again; a trial is noted only once it has spent its attempts, and with them its budget.
    """
    log = log_file(folder, unit)
    lines = last_lines(log) if log.is_file() else []
    if isinstance(plan, TuningPlan):
        return {"plan": plan.hash, "log": lines} if failures(folder, unit) >= ATTEMPTS else None
    if lines and lines[-1].startswith(FAILED):
        return {"reason": lines[-1].removeprefix(FAILED), "log": lines}
    return None


def _adopt_unit(reports: Path, folder: Path, plan: Plan, unit: Unit) -> None:
    lock = Lock(lock_file(folder, unit))
    if not lock.acquire(wait=False):  # a worker writes this folder now
        return
    try:
        if not plan.is_done(folder, unit):
            _copy(reports, unit, folder)
    finally:
        lock.release()


def _copy(source: Path, unit: Unit, target: Path) -> None:
    """Copy what is kept of a unit, where it is not there yet."""
    there = unit_folder(source, unit)
    for pattern in KEPT_OF_TRIALS if isinstance(unit, PlannedTrial) else KEPT_OF_RUNS:
        for file in sorted(there.glob(pattern)):
            copy, content = unit_folder(target, unit) / file.relative_to(there), file.read_bytes()
            if not copy.is_file() or copy.read_bytes() != content:
                write_atomic(copy, content)
