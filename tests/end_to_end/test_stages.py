"""Two stages through the real command line: straight, killed in the second and resumed, written again, in a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from unimm.runs.record import Result

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations/studies/arms/clip_fm_instruct.yaml"
SETTINGS = (
    "profile=tiny",
    "data.train_scenes=48",
    "evaluation.metrics=[geneval]",
    "training.samples=192",
    "stages.pretrain.samples=32",
    "stages.instruct.samples=160",
    "stages.instruct.learning_rate=5e-4",
    "stages.instruct.source=degraded_scenes",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "unimm", *map(str, arguments)]


def unimm(*arguments: str | Path, cache: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "UNIMM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=880)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    unimm("run", ARM, *SETTINGS, "--out", out, cache=cache)
    return out


def test_each_stage_is_a_run_and_the_arm_sums_them_up(straight: Path) -> None:
    whole, first, last = (
        Result.model_validate_json((straight / folder / "result.json").read_text())
        for folder in (".", "pretrain", "instruct")
    )
    assert [(s.name, s.source, s.learning_rate) for s in whole.stages] == [
        ("pretrain", "mixture", 1e-3),
        ("instruct", "degraded_scenes", 5e-4),
    ]
    assert whole.arm == "clip_fm_instruct" and whole.scores == last.scores
    assert whole.counts.generation_samples == 192 == sum(s.counts.generation_samples for s in whole.stages)
    assert whole.invariants.backbone_unchanged is True
    assert first.data is not None and last.data is not None and first.data.digest != last.data.digest
    assert whole.stages[0].data == first.data and whole.stages[1].scores == last.scores
    steps = [json.loads(line)["step"] for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 12
    assert all((straight / name / "report.html").exists() for name in (".", "pretrain", "instruct"))
    start, weights = (
        load_file(straight / path) for path in ("instruct/start.safetensors", "pretrain/weights.safetensors")
    )
    assert all(bool((start[name] == weights[name]).all()) for name in weights)


def test_a_run_killed_in_its_second_stage_goes_on_there(straight: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    env = {**os.environ, "UNIMM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    run = command("run", ARM, *SETTINGS, "--out", out)
    process = subprocess.Popen(run, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (out / "instruct" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "instruct" / "weights.safetensors").exists(), "killed too late"
    finished = (out / "pretrain" / "result.json").read_bytes()
    refused = unimm("run", ARM, *SETTINGS, "--out", out, cache=cache, check=False)
    assert refused.returncode == 2 and "--resume continues it" in refused.stderr
    unimm("run", ARM, *SETTINGS, "--out", out, "--resume", cache=cache)
    assert (out / "pretrain" / "result.json").read_bytes() == finished
    for name in ("pretrain", "instruct"):
        expected, actual = (load_file(folder / name / "weights.safetensors") for folder in (straight, out))
        assert expected.keys() == actual.keys()
        assert all(bool((expected[key] == actual[key]).all()) for key in expected)
    scores = [json.loads((folder / "result.json").read_text())["scores"] for folder in (straight, out)]
    assert scores[0] == scores[1]


def test_check_knows_the_arm_of_the_study(cache: Path) -> None:
    assert "clip_fm_instruct: 1500 steps" in unimm("check", ARM, cache=cache).stdout
