"""Workers as processes on this machine, which share its cores and are dealt its GPUs, one each for every rank."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from unimm.study.processes import StudyError
from unimm.study.tether import tethered


def start(command: Sequence[str], count: int, folder: Path, ranks: int = 1) -> None:
    """Run `count` workers; Ctrl-C, SIGTERM and the death of this process stop them, each with a checkpoint."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for environment in environments(count, dict(os.environ), gpus(), ranks):
            # A session of its own: Ctrl-C reaches a worker once, through this process.
            workers.append(subprocess.Popen(tethered(list(command)), env=environment, start_new_session=True))
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        signal.signal(signal.SIGTERM, previous)


def environments(count: int, base: dict[str, str], devices: Sequence[str], ranks: int = 1) -> list[dict[str, str]]:
    """The environment of every worker: every rank's share of the threads, and a GPU a rank where there are any.

    Raises:
        StudyError: there are GPUs, and fewer than the ranks of one run.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = int(base.get("OMP_NUM_THREADS", cores))
    shared = base | {"OMP_NUM_THREADS": str(max(1, threads // (count * ranks)))}
    if not devices:
        return [shared] * count
    if ranks > len(devices):
        raise StudyError(f"--ranks {ranks}: a rank needs a GPU of its own, and this machine shows {len(devices)}")
    groups = len(devices) // ranks
    hands = [devices[ranks * group : ranks * (group + 1)] for group in range(groups)]
    return [shared | {"CUDA_VISIBLE_DEVICES": ",".join(hands[worker % groups])} for worker in range(count)]


def gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
