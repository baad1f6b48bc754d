"""Copies what is worth committing of a study, in the study's own layout, and takes it back on another machine."""

from __future__ import annotations

from pathlib import Path

from unimm.files import write_atomic, write_json
from unimm.report.study.folder import FAILURE
from unimm.study.layout import is_done, lock_file, log_file, run_folder
from unimm.study.plan import Plan, Run, read_plan
from unimm.study.processes import FAILED, Lock, StudyError
from unimm.study.status import last_lines

# Last comes the file that makes a run count as done.
KEPT = (
    *(f"*/{name}" for name in ("config.yaml", "data_card.json", "result.json")),  # of each stage
    *("config.yaml", "items.json", "data_card.json", "samples/*.png", "samples/grid.json", "result.json"),
)


def collect(folder: Path, plan: Plan, reports: Path) -> int:
    """Copy the plan and all finished runs to `reports`, and why others failed; returns how many are finished.

    Several workers may do this at once: files are replaced whole, and all of them write the same.

    Raises:
        StudyError: `reports` holds the results of another plan.
    """
    committed = read_plan(reports) if (reports / "plan.json").exists() else None
    if committed and not plan.extends(committed, reports / "plan.json"):
        raise StudyError(f"{reports} holds results of another plan; choose another --collect, or move them away")
    if committed is None or len(plan.amendments) > len(committed.amendments):
        write_atomic(reports / "plan.json", (folder / "plan.json").read_bytes())
    done = [run for run in plan.runs if is_done(folder, plan, run)]
    for run in done:
        collect_run(folder, run, reports)
    for run in set(plan.runs) - set(done):
        _note_failure(folder, run, reports)
    return len(done)


def collect_run(folder: Path, run: Run, reports: Path) -> None:
    """Copy one finished run to `reports`."""
    _copy(run_folder(folder, run), run_folder(reports, run))
    (run_folder(reports, run) / FAILURE).unlink(missing_ok=True)


def adopt(reports: Path, folder: Path, plan: Plan) -> None:
    """Take finished runs of the same configuration from `reports` into the study's folder."""
    for run in plan.runs:
        if is_done(reports, plan, run):
            _adopt_run(reports, folder, plan, run)


def _note_failure(folder: Path, run: Run, reports: Path) -> None:
    """A run that failed is a finding too; its log stays on the machine that made it."""
    log = log_file(folder, run)
    lines = last_lines(log) if log.is_file() else []
    if lines and lines[-1].startswith(FAILED):
        write_json(run_folder(reports, run) / FAILURE, {"reason": lines[-1].removeprefix(FAILED), "log": lines})


def _adopt_run(reports: Path, folder: Path, plan: Plan, run: Run) -> None:
    lock = Lock(lock_file(folder, run))
    if not lock.acquire(wait=False):  # a worker writes this folder now
        return
    try:
        if not is_done(folder, plan, run):
            _copy(run_folder(reports, run), run_folder(folder, run))
    finally:
        lock.release()


def _copy(source: Path, target: Path) -> None:
    for pattern in KEPT:
        for file in sorted(source.glob(pattern)):
            copy, content = target / file.relative_to(source), file.read_bytes()
            if not copy.is_file() or copy.read_bytes() != content:
                write_atomic(copy, content)
