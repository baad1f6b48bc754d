"""The kill sweep sees what it looks for: files that differ, runs that are missing, two processes in one folder."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "kill_sweep.py"
ROW = {"step": 1, "samples": 8, "seconds": 0.1, "loss": 1.0}


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_sweep", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["kill_sweep"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder: Path, seconds: float) -> Path:
    """A run's files; ``seconds`` is what a clock says."""
    (folder / "samples").mkdir(parents=True)
    for name in ("weights.safetensors", "config.yaml", "items.json", "data_card.json"):
        (folder / name).write_text(name)
    for name in ("sheet.png", "grid.json"):
        (folder / "samples" / name).write_text(name)
    (folder / "metrics.jsonl").write_text(json.dumps(ROW | {"seconds": seconds}) + "\n")
    reached = [{"score": "a", "samples": {"low": 8}, "seconds": {"low": seconds}}]
    efficiency = {"train_flops": 5, "peak_memory_bytes": seconds, "sampling_seconds_per_image": seconds}
    clock = {"started": str(seconds), "speed": {"train_seconds": seconds}}
    result = {"scores": [1], "efficiency": {**efficiency, "reached": reached}, **clock}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_runs_are_equal_but_for_what_a_clock_says(sweep: ModuleType, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", 1.0), write_run(tmp_path / "other", 2.0)
    assert sweep.differences(one, other) == []
    (other / "weights.safetensors").write_text("Weights.safetensors")
    (other / "metrics.jsonl").write_text(json.dumps(ROW | {"loss": 1.0001}) + "\n")
    (other / "result.json").write_text(
        (other / "result.json").read_text().replace('"train_flops": 5', '"train_flops": 6')
    )
    assert sweep.differences(one, other) == ["metrics.jsonl", "result.json", "weights.safetensors"]


def test_missing_runs_and_doubled_ones_are_seen(sweep: ModuleType, tmp_path: Path, make_plan) -> None:
    make_plan(tmp_path, {"a": 0}, seeds=1)
    assert sweep.check(tmp_path, tmp_path) == (["a/seed0"], {})
    out = tmp_path / "runs" / "a" / "seed0"
    command = [sys.executable, "-c", "import time; time.sleep(60)", "unimm", "run", "c.yaml", "--out", str(out)]
    both = [subprocess.Popen(command) for _ in range(2)]
    try:
        watch = sweep.Watch(tmp_path)
        assert {process.pid for process in watch.look()} == {process.pid for process in both}
        assert watch.doubled == {str(out)}
        assert {sweep.phase(process) for process in watch.look()} == {"before its folder"}
        out.mkdir(parents=True)
        (out / "last.ckpt").touch()
        assert {sweep.phase(process) for process in watch.look()} == {"training"}
    finally:
        for process in both:
            process.kill()
            process.wait()
    watch = sweep.Watch(tmp_path)
    for text in ("1", "2"):
        assert not watch.doubled
        (out / "result.json").write_text(text)
        assert watch.look() == []
    assert watch.doubled == {str(out)}
