"""Several ranks of a run: one exit code, one lock and one signal for all of them, and resources for each."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unimm.study.engines import worker_command
from unimm.study.engines.local import environments
from unimm.study.processes import Lock, is_held
from unimm.study.ranks import exit_code, ranked

# A rank that notes that it lives, and on SIGTERM takes a moment to leave, as one does that writes a checkpoint.
RANK = """
import os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def leave(number, frame):
    time.sleep(1)
    (place / f"stopped{os.environ['RANK']}").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, leave)
(place / f"lives{os.environ['RANK']}").touch()
time.sleep(60)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """An agent of two ranks whose lock nobody holds but them, once they live."""
    lock = Lock(folder / "run.lock")
    assert lock.acquire(wait=False) and lock.descriptor is not None
    command = ranked([sys.executable, "-c", RANK, str(folder)], 2)
    agent = subprocess.Popen(command, stdin=lock.descriptor, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lock.release()
    wait_for(lambda: len(list(folder.glob("lives*"))) == 2)
    assert is_held(lock.path)
    return agent, lock.path


@pytest.mark.slow
def test_ranks_of_a_killed_agent_are_stopped_and_hold_the_lock_until_they_are_gone(tmp_path: Path) -> None:
    agent, lock = started(tmp_path)
    agent.kill()
    agent.wait()
    assert is_held(lock)
    wait_for(lambda: not is_held(lock))
    assert {path.name for path in tmp_path.glob("stopped*")} == {"stopped0", "stopped1"}


@pytest.mark.slow
def test_a_signal_to_the_agent_reaches_its_ranks(tmp_path: Path) -> None:
    agent, lock = started(tmp_path)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(timeout=60) == 130
    assert not is_held(lock)
    assert {path.name for path in tmp_path.glob("stopped*")} == {"stopped0", "stopped1"}


@pytest.mark.slow
def test_the_agent_ends_with_the_code_of_the_rank_that_failed() -> None:
    fails = "import os, sys, time; rank = int(os.environ['RANK']); time.sleep(60 * (1 - rank)); sys.exit(2 * rank)"
    done = subprocess.run(ranked([sys.executable, "-c", fails], 2), capture_output=True, timeout=60)
    assert done.returncode == 2
    assert [exit_code(codes) for codes in ([1, 2], [-9, 1], [3, 1])] == [2, 137, 3]


def test_one_rank_is_the_command_itself() -> None:
    assert ranked(["unimm", "run"], 1) == ["unimm", "run"]


def test_workers_get_threads_and_gpus_for_every_rank() -> None:
    shares = environments(3, {"OMP_NUM_THREADS": "12"}, ["0", "1", "2", "3", "4"], ranks=2)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0,1", "2,3", "0,1"]
    assert {share["OMP_NUM_THREADS"] for share in shares} == {"2"}
    with pytest.raises(ValueError, match="--ranks 4: a rank needs a GPU of its own, and this machine shows 2"):
        environments(1, {}, ["0", "1"], ranks=4)
    assert worker_command(Path("/s"), Path("/r"), None, ranks=2)[-2:] == ["--ranks", "2"]


def with_fake(monkeypatch: pytest.MonkeyPatch, library: str, fake: Any, engine: str) -> Any:
    """An engine's module above a stand-in for its library, which need not be installed."""
    module = f"unimm.study.engines.{engine}"
    monkeypatch.setitem(sys.modules, library, fake)
    monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(module)


def test_slurm_jobs_ask_for_what_their_ranks_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    executor = SimpleNamespace(
        update_parameters=lambda **options: asked.update(options),
        batch=nullcontext,
        submit=lambda worker: SimpleNamespace(wait=lambda: None),
    )
    slurm = with_fake(monkeypatch, "submitit", SimpleNamespace(AutoExecutor=lambda **_: executor), "slurm")
    for name in slurm.ASK_FOR_GPUS:
        monkeypatch.delenv(name, raising=False)
    slurm.start([sys.executable], 2, tmp_path)
    assert asked["tasks_per_node"] == 1 and "cpus_per_task" not in asked
    slurm.start([sys.executable], 2, tmp_path, ranks=4)
    assert (asked["nodes"], asked["tasks_per_node"], asked["cpus_per_task"]) == (1, 1, 4)
    for fits in ({}, {"SBATCH_GPUS": "4"}, {"SBATCH_GRES": "gpu:h200:4"}, {"SBATCH_GPUS": "a100:4(S:0-1)"}):
        slurm.check_gpus(fits, 4)
    slurm.check_gpus({"SBATCH_GPUS": "1"}, 1)
    for name, given in (("SBATCH_GPUS", "1"), ("SBATCH_GPUS_PER_NODE", "a100:8"), ("SBATCH_GRES", "gpu:2")):
        monkeypatch.setenv(name, given)
        with pytest.raises(ValueError, match=rf"{name}={given} asks for \d GPUs, and a run has 4 ranks: ask for 4"):
            slurm.start([sys.executable], 1, tmp_path, ranks=4)
        monkeypatch.delenv(name)


def test_ray_tasks_take_a_cpu_and_a_gpu_for_every_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    cluster = SimpleNamespace(
        init=lambda **_: None,
        cluster_resources=lambda: {"CPU": 8.0, "GPU": 4.0},
        remote=lambda **options: asked.update(options) or (lambda task: SimpleNamespace(remote=lambda *_: None)),
        get=lambda tasks: tasks,
        shutdown=lambda: None,
    )
    ray_jobs = with_fake(monkeypatch, "ray", cluster, "ray_jobs")
    ray_jobs.start([sys.executable], 2, tmp_path, ranks=2)
    assert (asked["num_cpus"], asked["num_gpus"]) == (2, 2)
