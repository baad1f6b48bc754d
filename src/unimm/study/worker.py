"""Takes what a study or a tuning hands out until nothing is left; each is a child, so that a crash fails only that one.

SIGTERM and SIGINT stop the child, which leaves a checkpoint, and then the worker. A worker that finds nothing waiting
stays while others run: what is left by one that is killed needs a taker. What is finished goes to the reports' folder
at once, so that it can be committed whatever happens to the rest.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from unimm.runs.record import CONFIG
from unimm.study.collect import collect, collect_unit
from unimm.study.foundations import refuse_rebuilt
from unimm.study.layout import PlannedTrial, Unit, config_file, log_file, settings_file, unit_folder
from unimm.study.plan import StudyPlan, TuningPlan, read_plan
from unimm.study.processes import Children
from unimm.study.queue import Queue, QueueStep, RunQueue
from unimm.study.ranks import ranked
from unimm.study.trials import TrialQueue

POLL_SECONDS = 5


def open_queue(folder: Path, plan: StudyPlan | TuningPlan, storage: str | None) -> Queue:
    """What hands out the plan's units; StudyError where a foundation was built again since it was planned."""
    if isinstance(plan, TuningPlan):
        return TrialQueue(folder, plan, storage)
    refuse_rebuilt(plan)
    return RunQueue(folder, plan, storage)


def work(folder: Path, reports: Path, storage: str | None = None, ranks: int = 1) -> bool:
    """Work in `folder` until everything planned is done or given up; False if stopped before by a signal.

    Every run is trained by so many `ranks`.
    """
    folder, plan, children = folder.resolve(), read_plan(folder), Children()
    queue = open_queue(folder, plan, storage)
    collect(folder, plan, reports)  # a worker that was killed may have finished something and not copied it

    def execute(unit: Unit, attempt: int, lock: int) -> None:
        out, log = unit_folder(folder, unit), log_file(folder, unit)
        _clear_unclaimed(out)
        code = children.run(ranked(_command(folder, unit), ranks), log, attempt, lock)
        if not plan.is_done(folder, unit):
            raise children.failed(code, log)
        collect_unit(folder, unit, reports)

    children.listen()
    while not children.stopping:
        found = queue.work_one(execute)
        if found is QueueStep.FINISHED:
            return True
        if found is QueueStep.OTHERS_WORK:
            time.sleep(POLL_SECONDS)
    return False


def run_command(config: Path, out: Path) -> list[str]:
    """The child's command; `--resume` starts a run that has no checkpoint yet from its beginning."""
    return [sys.executable, "-m", "unimm", "run", str(config), "--out", str(out), "--resume"]


def trial_command(settings: Path, out: Path) -> list[str]:
    """The child's command; it continues from the last checkpoint."""
    return [sys.executable, "-m", "unimm", "study", "trial", str(settings), "--out", str(out)]


def _command(folder: Path, unit: Unit) -> list[str]:
    out = unit_folder(folder, unit)
    if isinstance(unit, PlannedTrial):
        return trial_command(settings_file(folder, unit), out)
    return run_command(config_file(folder, unit), out)


def _clear_unclaimed(out: Path) -> None:
    """Make room for a child where one was killed while it claimed the folder, which left a temporary file."""
    if out.exists() and not (out / CONFIG).exists():
        shutil.rmtree(out)
    out.parent.mkdir(parents=True, exist_ok=True)
