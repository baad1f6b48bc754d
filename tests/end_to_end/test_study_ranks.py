"""`unimm study run --ranks 2`: every run of the study, stages included, is that of one rank up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from unimm.runs.record import Result

ABLATIONS = Path(__file__).parents[2] / "ablations"
LOSSES = 1e-5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
RUNS = {"vae_mse": [""], "staged": ["first", "second"]}  # the folders of each arm that train


def write_study(folder: Path) -> Path:
    claim = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": list(RUNS)}}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [claim]}))
    stages = {"first": {"samples": 64}, "second": {"samples": 32, "learning_rate": 3e-4}}
    staged = {
        **yaml.safe_load((ABLATIONS / "vae_mse.yaml").read_text()),
        "name": "staged",
        "training": {"samples": 96},
        "stages": stages,
    }
    (folder / "staged.yaml").write_text(yaml.safe_dump(staged))
    study = {
        "question": "Do ranks agree?",
        "profile": "tiny",
        "seeds": 1,
        "overrides": ["head=linear", "training.snapshots=0", "evaluation.metrics=[geneval]", "data.train_scenes=32"],
        "arms": [str(ABLATIONS / "vae_mse.yaml"), "staged.yaml"],
        "declared_differences": ["stages", "training.samples"],
        "claims": "claims.yaml",
    }
    (folder / "ranks.yaml").write_text(yaml.safe_dump(study))
    return folder / "ranks.yaml"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_study_of_two_ranks_is_that_of_one(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    environment = {**os.environ, "UNIMM_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    for ranks in (1, 2):
        out = tmp_path / f"of{ranks}"
        options = ["--out", str(out), "--collect", str(out / "kept"), "--ranks", str(ranks)]
        command = [sys.executable, "-m", "unimm", "study", "run", str(file), *options]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        logs = [log.read_text()[-3000:] for log in out.glob("logs/*.log")]
        assert done.returncode == 0 and "2 done of 2 runs" in done.stdout, (done.stdout, done.stderr, logs)
    for arm, folders in RUNS.items():
        one, two = (tmp_path / f"of{ranks}" / "runs" / arm / "seed0" for ranks in (1, 2))
        for folder in folders:
            assert losses(two / folder) == pytest.approx(losses(one / folder), rel=LOSSES)
        first, second = (Result.model_validate_json((run / "result.json").read_text()) for run in (one, two))
        assert first.counts == second.counts and first.data is not None and first.data == second.data
        assert len(first.stages) == len(second.stages) == len(folders) - (folders == [""])
