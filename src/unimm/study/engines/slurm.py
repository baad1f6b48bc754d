"""Workers as SLURM jobs through submitit (`pip install 'unimm[slurm]'`).

Partition, account, time and GPUs come from sbatch's own variables, such as SBATCH_PARTITION, SBATCH_TIMELIMIT and
SBATCH_GPUS=1; with `--ranks N` a job asks for N CPUs, and these variables, if they name GPUs, have to name N. A job
that is preempted or runs out of time is queued again and pulls on. Nodes have to share the study's folder; with more
than one of them the queue needs a real database, `--storage postgresql://...`.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit

from unimm.study.processes import StudyError

MINUTES = 24 * 60
ASK_FOR_GPUS = ("SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GRES")


@dataclass(frozen=True)
class Worker:
    """What a job does; submitit calls `checkpoint` before SLURM ends it."""

    command: tuple[str, ...]

    def __call__(self) -> int:
        return subprocess.run(self.command, check=False).returncode

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Start the same worker again: the queue knows what is left to do."""
        return submitit.helpers.DelayedSubmission(self)


def start(command: Sequence[str], count: int, folder: Path, ranks: int = 1, cluster: str = "slurm") -> None:
    """Submit `count` jobs and wait for them; they go on when this process ends.

    Raises:
        StudyError: there is no SLURM here, or its variables ask for another number of GPUs than there are ranks.
    """
    check_gpus(os.environ, ranks)
    try:
        executor = submitit.AutoExecutor(folder=folder / "slurm", cluster=cluster)
    except RuntimeError as error:
        raise StudyError(f"engine slurm: {error}; start the study on a login node, or use --engine local") from error
    executor.update_parameters(name=f"unimm-{folder.name}", timeout_min=MINUTES, **resources(ranks))
    with executor.batch():
        jobs = [executor.submit(Worker(tuple(command))) for _ in range(count)]
    for job in jobs:
        job.wait()


def resources(ranks: int) -> dict[str, int]:
    """What a job asks for beside what sbatch's variables say: all ranks of a run lie on one node."""
    return {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": ranks} if ranks > 1 else {"tasks_per_node": 1}


def check_gpus(environment: Mapping[str, str], ranks: int) -> None:
    """StudyError where several ranks would have to share GPUs, or leave some idle: sbatch's variables win over ours."""
    for name in ASK_FOR_GPUS:
        asked = re.search(r"(?:^|:)(\d+)(?:\(.*\))?$", environment.get(name, ""))
        if ranks > 1 and asked and int(asked[1]) != ranks:
            raise StudyError(
                f"{name}={environment[name]} asks for {asked[1]} GPUs, and a run has {ranks} ranks: ask for {ranks}"
            )
