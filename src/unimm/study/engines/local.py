"""Workers as processes on this machine, which share its cores and are dealt its GPUs, one each."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from unimm.study.tether import tethered


def start(command: Sequence[str], count: int, folder: Path) -> None:
    """Run `count` workers; Ctrl-C, SIGTERM and the death of this process stop them, each with a checkpoint."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for environment in environments(count, dict(os.environ), gpus()):
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


def environments(count: int, base: dict[str, str], devices: Sequence[str]) -> list[dict[str, str]]:
    """The environment of every worker: its share of the threads, and one GPU where there are any."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = int(base.get("OMP_NUM_THREADS", cores))
    shared = base | {"OMP_NUM_THREADS": str(max(1, threads // count))}
    if not devices:
        return [shared] * count
    return [shared | {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]} for worker in range(count)]


def gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
