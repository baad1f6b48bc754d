"""Takes runs from a study's queue until none is left; each is a child process, so that a crash fails only that run.

SIGTERM and SIGINT stop the child, which leaves a checkpoint, and then the worker. A worker that finds nothing waiting
stays while others run: the run of one that is killed needs a taker. A finished run goes to the reports' folder at
once, so that what is done can be committed whatever happens to the rest.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from unimm.study.collect import collect, collect_run
from unimm.study.layout import config_file, is_done, log_file, run_folder
from unimm.study.plan import Run, read_plan
from unimm.study.processes import Children
from unimm.study.queue import Queue, Step

POLL_SECONDS = 5


def run_command(config: Path, out: Path) -> list[str]:
    """The child's command; `--resume` starts a run that has no checkpoint yet from its beginning."""
    return [sys.executable, "-m", "unimm", "run", str(config), "--out", str(out), "--resume"]


def work(folder: Path, reports: Path, storage: str | None = None) -> bool:
    """Work on the study in `folder` until every run is done or given up; False if stopped before by a signal."""
    folder, plan, children = folder.resolve(), read_plan(folder), Children()
    queue = Queue(folder, plan, storage)
    collect(folder, plan, reports)  # a worker that was killed may have finished a run and not copied it

    def execute(run: Run, attempt: int, lock: int) -> None:
        out, log = run_folder(folder, run), log_file(folder, run)
        clear_unclaimed(out)
        code = children.run(run_command(config_file(folder, run), out), log, attempt, lock)
        if not is_done(folder, plan, run):
            raise children.failed(code, log)
        collect_run(folder, run, reports)

    return work_off(lambda: queue.work_one(execute), children)


def clear_unclaimed(out: Path) -> None:
    """Make room for a run whose child was killed while it claimed the folder, which left a temporary file."""
    if out.exists() and not (out / "config.yaml").exists():
        shutil.rmtree(out)
    out.parent.mkdir(parents=True, exist_ok=True)


def work_off(step: Callable[[], Step], children: Children) -> bool:
    """Take steps until one finds everything finished; False if stopped before by a signal."""
    children.listen()
    while not children.stopping:
        found = step()
        if found is Step.FINISHED:
            return True
        if found is Step.OTHERS_WORK:
            time.sleep(POLL_SECONDS)
    return False
