"""The real command line under torchrun: two ranks train, one scores, and a signal stops both with a checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unimm.runs.record import Result

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "unimm", "run"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "UNIMM_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


@pytest.mark.repeat  # tests/end_to_end/test_study_ranks.py has them, started by the same agent
def test_two_ranks_train_and_one_scores(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ["profile=tiny", "evaluation.metrics=[geneval]", "training.snapshots=0", "head.width=16", "head.layers=1"]
    command = [*TORCHRUN, "ablations/clip_fm.yaml", *small, "head.heads=2", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path / "cache"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("report.html") == 1, "one rank prints"
    result = Result.model_validate(json.loads((out / "result.json").read_text()))
    assert result.invariants.backbone_unchanged
    assert result.data is not None
    assert result.data.positions == result.counts.generation_samples == 64


@pytest.mark.repeat  # tests/training/test_distributed.py has the message, this one the way to the terminal
def test_a_batch_that_ranks_cannot_share_is_refused(tmp_path: Path) -> None:
    command = [
        *TORCHRUN,
        "ablations/vae_mse.yaml",
        "profile=tiny",
        "training.batch_size=15",
        "--out",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path / "cache"), capture_output=True, text=True)
    assert done.returncode != 0
    assert "training.batch_size=15 cannot be split over 2 ranks x 1 micro-batches" in done.stderr


def test_a_signal_to_torchrun_leaves_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    long = ["profile=tiny", "training.samples=160000", "training.checkpoint_every_steps=100000", "training.snapshots=0"]
    command = [*TORCHRUN, "ablations/vae_mse.yaml", *long, "--out", str(out)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(tmp_path / "cache"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 600
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert errors.count("continue with --resume") == 1
    assert (out / "last.ckpt").exists()
    assert not (out / "result.json").exists()
