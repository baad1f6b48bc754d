"""The real command line on tiny sizes: every arm, resuming, stopping, refusing.

Every arm runs in the tests' own process, where shapes are checked and nothing is imported twice; what depends on a
process of its own (resuming, signals, exit codes) gets one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from unimm.cli import app
from unimm.runs.record import Result

ROOT = Path(__file__).parents[2]
ARMS = sorted((ROOT / "ablations").glob("*.yaml"))
pytestmark = pytest.mark.slow


def unimm(*arguments: str | Path, cache: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, on one thread and with a cache of the test's own."""
    env = {**os.environ, "UNIMM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "unimm", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("arm", ARMS, ids=lambda path: path.stem)
def test_every_arm_trains_samples_and_scores(
    arm: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("UNIMM_CACHE", str(cache))
    done = CliRunner().invoke(app, ["run", str(arm), "profile=tiny", "--out", str(out)])
    assert done.exit_code == 0, done.output[-3000:]
    result = Result.model_validate(json.loads((out / "result.json").read_text()))
    values = {score.name: score.value for score in result.scores}
    assert result.arm == arm.stem
    assert values["geneval/overall"] is not None
    assert {"atoms/overall", "frechet_distance", "clip_score/a", "understanding/overall"} <= set(values)
    assert result.ceilings["real"]["geneval/overall"] == 1.0
    assert result.invariants.backbone_unchanged is (None if arm.stem.endswith("_joint") else True)
    assert (out / "report.html").exists()
    assert "report.html" in done.stdout.replace("\n", "")


def test_resumed_run_equals_straight_run_bit_by_bit(tmp_path: Path, cache: Path) -> None:
    arm, straight, resumed = ROOT / "ablations/clip_fm_joint.yaml", tmp_path / "straight", tmp_path / "resumed"
    settings = ("profile=tiny", "evaluation.metrics=[geneval]")
    unimm("run", arm, *settings, "--out", straight, cache=cache)
    half = tmp_path / "half"
    half_of_both = ("training.samples=32", "strategy.understanding_samples=32")
    unimm("run", arm, *settings, *half_of_both, "--out", half, cache=cache)
    resumed.mkdir()
    shutil.copy(straight / "config.yaml", resumed)
    shutil.copy(half / "last.ckpt", resumed)
    unimm("run", arm, *settings, "--out", resumed, "--resume", cache=cache)
    expected, actual = (load_file(folder / "weights.safetensors") for folder in (straight, resumed))
    assert expected.keys() == actual.keys()
    assert all(bool((expected[name] == actual[name]).all()) for name in expected)


def test_sigterm_leaves_a_checkpoint_that_resumes(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "unimm", "run", str(ROOT / "ablations/vae_mse.yaml"), "profile=tiny"]
    command += ["training.samples=160000", "training.checkpoint_every_steps=100000", "--out", str(out)]
    env = {**os.environ, "UNIMM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors[-2000:]
    assert "--resume" in errors
    assert (out / "last.ckpt").exists()
    assert not (out / "result.json").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_says_the_step(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    broken = ("profile=tiny", "training.learning_rate=1e30", "training.warmup_steps=0")
    result = unimm("run", ROOT / "ablations/vae_mse.yaml", *broken, "--out", out, cache=cache, check=False)
    assert result.returncode == 2, result.stderr[-2000:]
    assert re.search(r"the loss is not finite at step \d+;", result.stderr.replace("\n", " ")), result.stderr[-2000:]
    assert not (out / "result.json").exists()


def test_a_folder_with_another_run_is_refused(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("name: something else\n")
    result = unimm("run", ROOT / "ablations/vae_mse.yaml", "profile=tiny", "--out", out, cache=cache, check=False)
    assert result.returncode == 2
    assert "another configuration" in result.stderr
    assert (out / "config.yaml").read_text() == "name: something else\n"


def test_a_truncated_foundation_is_named(tmp_path: Path, cache: Path) -> None:
    broken = tmp_path / "foundation"
    shutil.copytree(ROOT / "src/unimm/foundation/shipped/scenes-nano", broken)
    weights = broken / "decoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    arm = ROOT / "ablations/clip_fm.yaml"
    result = unimm(
        "run", arm, "profile=tiny", f"foundation={broken}", "--out", tmp_path / "x", cache=cache, check=False
    )
    assert result.returncode == 2
    assert str(weights) in result.stderr
    assert "truncated or altered" in result.stderr
