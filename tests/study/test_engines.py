"""Engines only start workers: threads and GPUs are shared out, unknown and missing engines explained."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from unimm.study.engines import engine, worker_command
from unimm.study.engines.local import environments

WORK = [sys.executable, str(Path(__file__).with_name("fake_study.py")), "work"]


def test_threads_are_divided_and_gpus_dealt() -> None:
    shares = environments(3, {"OMP_NUM_THREADS": "8"}, ["4", "5"])
    assert [share["OMP_NUM_THREADS"] for share in shares] == ["2", "2", "2"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4", "5", "4"]
    assert environments(2, {"OMP_NUM_THREADS": "1"}, []) == [{"OMP_NUM_THREADS": "1"}] * 2


def test_an_engine_starts_the_worker_verb() -> None:
    command = worker_command(Path("/s"), Path("/r"), "postgresql://host/db")
    options = ["--collect", "/r", "--storage", "postgresql://host/db"]
    assert command[1:] == ["-m", "unimm", "study", "work", "/s", *options]


def test_unknown_engines_and_missing_extras_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no engine 'slrum'; did you mean 'slurm'"):
        engine("slrum")
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.delitem(sys.modules, "unimm.study.engines.slurm", raising=False)
    with pytest.raises(ValueError, match=r"needs submitit: pip install 'unimm\[slurm\]'"):
        engine("slurm")


def test_slurm_jobs_work_off_a_study(tmp_path, make_plan, check_complete) -> None:
    pytest.importorskip("submitit")
    slurm = importlib.import_module("unimm.study.engines.slurm")
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=1)
    slurm.start([*WORK, str(tmp_path)], 2, tmp_path, cluster="local")
    check_complete(tmp_path, plan, kills=0)


def test_slurm_jobs_are_submitted_again_as_they_are() -> None:
    pytest.importorskip("submitit")
    slurm = importlib.import_module("unimm.study.engines.slurm")
    worker = slurm.Worker((sys.executable, "-c", "raise SystemExit(3)"))
    assert worker() == 3
    assert worker.checkpoint().function is worker


@pytest.mark.ray
def test_ray_tasks_work_off_a_study(tmp_path, make_plan, check_complete) -> None:
    pytest.importorskip("ray")
    ray_jobs = importlib.import_module("unimm.study.engines.ray_jobs")
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=1)
    ray_jobs.start([*WORK, str(tmp_path)], 2, tmp_path)
    check_complete(tmp_path, plan, kills=0)
