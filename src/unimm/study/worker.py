"""Takes runs from a study's queue until none is left; each is a child process, so that a crash fails only that run.

SIGTERM and SIGINT stop the child, which leaves a checkpoint, and then the worker. A worker that finds nothing waiting
stays while others run: the run of one that is killed needs a taker. A finished run goes to the reports' folder at
once, so that what is done can be committed whatever happens to the rest.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from unimm.study.collect import collect, collect_run
from unimm.study.layout import config_file, is_done, log_file, run_folder
from unimm.study.plan import Run, read_plan
from unimm.study.queue import Crashed, Queue, Step, Stopped
from unimm.study.tether import tethered

POLL_SECONDS = 5


def run_command(config: Path, out: Path) -> list[str]:
    """The child's command; `--resume` starts a run that has no checkpoint yet from its beginning."""
    return [sys.executable, "-m", "unimm", "run", str(config), "--out", str(out), "--resume"]


def work(folder: Path, reports: Path, storage: str | None = None) -> bool:
    """Work on the study in `folder` until every run is done or given up; False if stopped before by a signal."""
    worker = _Worker(folder, reports, storage)
    collect(worker.folder, worker.plan, reports)  # a worker that was killed may have finished a run and not copied it
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, worker.stop)
    while not worker.stopping:
        step = worker.queue.work_one(worker.execute)
        if step is Step.FINISHED:
            return True
        if step is Step.OTHERS_WORK:
            time.sleep(POLL_SECONDS)
    return False


class _Worker:
    def __init__(self, folder: Path, reports: Path, storage: str | None) -> None:
        self.folder, self.reports = folder.resolve(), reports
        self.plan = read_plan(folder)
        self.queue = Queue(self.folder, self.plan, storage)
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: only passes the wish on, so that nothing is interrupted half-way."""
        self.stopping = True
        if self.child is not None:
            self.child.terminate()

    def execute(self, run: Run, attempt: int, lock: int) -> None:
        """Run one child to its end, its output appended to the run's log."""
        out, log = run_folder(self.folder, run), log_file(self.folder, run)
        if out.exists() and not (out / "config.yaml").exists():
            shutil.rmtree(out)  # a child that was killed while it claimed the folder left a temporary file
        out.parent.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = run_command(config_file(self.folder, run), out)
        with log.open("ab") as stream:
            stream.write(f"--- attempt {attempt}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
            stream.flush()
            # A session of its own: Ctrl-C reaches the child once, through the worker.
            self.child = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,
            )
            if self.stopping:  # the signal came before there was a child to pass it on to
                self.child.terminate()
            code = self.child.wait()
            self.child = None
            if is_done(self.folder, self.plan, run):
                collect_run(self.folder, run, self.reports)
                return
            if self.stopping:
                raise Stopped
            reason = f"exit code {code}" if code else "exit code 0, but no result of the planned configuration"
            stream.write(f"--- failed: {reason}\n".encode())
            raise Crashed(reason)
