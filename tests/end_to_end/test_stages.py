"""Two stages through the real command line: straight, killed in the second and resumed, written again, in a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from unimm.cli import app
from unimm.runs import record

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations/studies/arms/clip_fm_instruct.yaml"
SETTINGS = (
    "profile=tiny",
    "data.train_scenes=48",
    "evaluation.metrics=[geneval]",
    "training.samples=192",
    "training.snapshots=0",
    "stages.pretrain.samples=32",
    "stages.instruct.samples=160",
    "stages.instruct.learning_rate=5e-4",
    "stages.instruct.source=degraded_scenes",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def unimm(*arguments: str | Path, code: int = 0) -> Result:
    """The command in the tests' own process; the run that is killed has its own."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output[-3000:]
    return done


def process(*arguments: str | Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "unimm", *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    unimm("run", ARM, *SETTINGS, "--out", out)
    return out


def test_each_stage_is_a_run_and_the_arm_sums_them_up(straight: Path) -> None:
    whole, first, last = (
        record.Result.model_validate_json((straight / folder / "result.json").read_text())
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


def test_a_run_killed_in_its_second_stage_goes_on_there(straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = ("run", ARM, *SETTINGS, "--out", out)
    killed = process(*run)
    deadline = time.monotonic() + 600
    while not (out / "instruct" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (out / "instruct" / "weights.safetensors").exists(), "killed too late"
    finished = (out / "pretrain" / "result.json").read_bytes()
    refused = unimm(*run, code=2)
    assert "--resume continues it" in refused.stderr.replace("\n", " ")
    unimm(*run, "--resume")
    assert (out / "pretrain" / "result.json").read_bytes() == finished
    for name in ("pretrain", "instruct"):
        expected, actual = (load_file(folder / name / "weights.safetensors") for folder in (straight, out))
        assert expected.keys() == actual.keys()
        assert all(bool((expected[key] == actual[key]).all()) for key in expected)
    scores = [json.loads((folder / "result.json").read_text())["scores"] for folder in (straight, out)]
    assert scores[0] == scores[1]


def test_check_knows_the_arm_of_the_study() -> None:
    assert "clip_fm_instruct: 1500 steps" in unimm("check", ARM).stdout
