"""The real command line on tiny sizes: every arm, stopping, refusing.

All runs in the tests' own process, where shapes are checked and nothing is imported twice; what depends on a process of
its own, a signal, gets one.
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
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from unimm.cli import app
from unimm.evaluation.words import card_of
from unimm.runs import record

ROOT = Path(__file__).parents[2]
ARMS = sorted((ROOT / "ablations").glob("*.yaml"))
# Among these, every encoder meets every objective and strategy, and every objective every strategy.
WITH_ALL_METRICS = {"clip_fm", "clip_mse_joint", "vae_fm_joint", "vae_mse"}
SMALL_HEAD = ("head.width=32", "head.layers=1", "head.heads=2")
pytestmark = pytest.mark.slow


def unimm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("arm", ARMS, ids=lambda path: path.stem)
def test_every_arm_trains_samples_and_scores(arm: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "run", arm.stem in WITH_ALL_METRICS
    fewer = () if whole else ("evaluation.metrics=[geneval]", "training.snapshots=0")
    done = unimm("run", arm, "profile=tiny", *SMALL_HEAD, *fewer, "--out", out)
    assert done.exit_code == 0, done.output[-3000:]
    result = record.Result.model_validate(json.loads((out / "result.json").read_text()))
    values = {score.name: score.value for score in result.scores}
    assert result.arm == arm.stem
    assert values["geneval/overall"] is not None
    of_all = {"frechet_distance", "clip_score/a", "understanding/overall"}
    assert "atoms/overall" in values and of_all & set(values) == (of_all if whole else set())
    assert {card_of(name) for name in values} == {None, *result.judge_cards}, "whoever scores was tried"
    assert result.ceilings["real"]["geneval/overall"] == 1.0
    assert result.invariants.backbone_unchanged is (None if arm.stem.endswith("_joint") else True)
    assert (out / "report.html").exists()
    assert "report.html" in done.stdout.replace("\n", "")


def test_sigterm_leaves_a_checkpoint_that_resumes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "unimm", "run", str(ROOT / "ablations/vae_mse.yaml"), "profile=tiny"]
    command += ["training.samples=160000", "training.checkpoint_every_steps=100000", "--out", str(out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
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


def test_a_loss_that_is_no_number_stops_the_run_and_says_the_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    broken = ("profile=tiny", "training.learning_rate=1e30", "training.warmup_steps=0")
    result = unimm("run", ROOT / "ablations/vae_mse.yaml", *broken, "--out", out)
    assert result.exit_code == 2, result.stderr[-2000:]
    assert re.search(r"the loss is not finite at step \d+;", result.stderr.replace("\n", " ")), result.stderr[-2000:]
    assert not (out / "result.json").exists()


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.yaml").write_text("name: something else\n")
    result = unimm("run", ROOT / "ablations/vae_mse.yaml", "profile=tiny", "--out", out)
    assert result.exit_code == 2
    assert "another configuration" in result.stderr.replace("\n", " ")
    assert (out / "config.yaml").read_text() == "name: something else\n"


def test_a_truncated_foundation_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "foundation"
    shutil.copytree(ROOT / "src/unimm/foundation/shipped/scenes-nano", broken)
    weights = broken / "decoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    arm = ROOT / "ablations/clip_fm.yaml"
    result = unimm("run", arm, "profile=tiny", f"foundation={broken}", "--out", tmp_path / "x")
    assert result.exit_code == 2
    assert str(weights) in result.stderr
    assert "truncated or altered" in result.stderr
