"""Workers as Ray tasks (`pip install 'unimm[ray]'`), on the cluster at RAY_ADDRESS or on one started here.

Each takes a CPU for every rank of its runs, and a GPU where the cluster has any. Nodes have to share the study's
folder; with more than one of them the queue needs a real database, `--storage postgresql://...`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import ray


def start(command: Sequence[str], count: int, folder: Path, ranks: int = 1) -> None:
    """Run `count` tasks and wait for them; a task whose node dies is started again elsewhere."""
    ray.init(ignore_reinit_error=True)
    try:
        gpus = ranks if ray.cluster_resources().get("GPU", 0) else 0
        task = ray.remote(num_cpus=ranks, num_gpus=gpus, max_retries=-1)(_work)
        ray.get([task.remote(list(command), os.getcwd()) for _ in range(count)])
    finally:
        ray.shutdown()


def _work(command: list[str], cwd: str) -> int:
    return subprocess.run(command, cwd=cwd, check=False).returncode
