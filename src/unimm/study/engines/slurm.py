"""Workers as SLURM jobs through submitit (`pip install 'unimm[slurm]'`).

Partition, account, time and GPUs come from sbatch's own variables, such as SBATCH_PARTITION, SBATCH_TIMELIMIT and
SBATCH_GPUS=1. A job that is preempted or runs out of time is queued again and pulls on. Nodes have to share the
study's folder; with more than one of them the queue needs a real database, `--storage postgresql://...`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit

from unimm.study.processes import StudyError

MINUTES = 24 * 60


@dataclass(frozen=True)
class Worker:
    """What a job does; submitit calls `checkpoint` before SLURM ends it."""

    command: tuple[str, ...]

    def __call__(self) -> int:
        return subprocess.run(self.command, check=False).returncode

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Start the same worker again: the queue knows what is left to do."""
        return submitit.helpers.DelayedSubmission(self)


def start(command: Sequence[str], count: int, folder: Path, cluster: str = "slurm") -> None:
    """Submit `count` jobs and wait for them; they go on when this process ends."""
    try:
        executor = submitit.AutoExecutor(folder=folder / "slurm", cluster=cluster)
    except RuntimeError as error:
        raise StudyError(f"engine slurm: {error}; start the study on a login node, or use --engine local") from error
    executor.update_parameters(name=f"unimm-{folder.name}", tasks_per_node=1, timeout_min=MINUTES)
    with executor.batch():
        jobs = [executor.submit(Worker(tuple(command))) for _ in range(count)]
    for job in jobs:
        job.wait()
