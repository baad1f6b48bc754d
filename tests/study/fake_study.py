"""Runs a real worker or launcher over runs that are quick fakes.

`python fake_study.py work FOLDER [STORAGE]`, `... tune FOLDER [STORAGE]`, `... launch FOLDER [WORKERS]`
"""

import sys
from pathlib import Path

from unimm.study import engines, launch, worker
from unimm.study.engines import local
from unimm.study.plan import read_plan

RUN = Path(__file__).with_name("fake_run.py")
TRIAL = Path(__file__).with_name("fake_trial.py")


def work(folder: Path, storage: str | None) -> None:
    worker.run_command = lambda config, out: [sys.executable, str(RUN), str(config), str(out)]
    worker.POLL_SECONDS = 0.2
    worker.work(folder, folder / "collected", storage)


def tune(folder: Path, storage: str | None) -> None:
    worker.trial_command = lambda settings, out: [sys.executable, str(TRIAL), str(settings), str(out)]
    worker.POLL_SECONDS = 0.2
    worker.work(folder, folder / "collected", storage)


def launch_workers(folder: Path, workers: str | None) -> None:
    engines.worker_command = lambda folder, reports, storage, ranks: [sys.executable, __file__, "work", str(folder)]
    local.gpus = list
    launch.launch(read_plan(folder), launch.Places(folder, folder / "collected"), "local", int(workers or 2), None)


if __name__ == "__main__":
    verb = {"work": work, "tune": tune, "launch": launch_workers}[sys.argv[1]]
    verb(Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
