"""`unimm study run --ranks 2`: every run of the study, stages included, is that of one rank up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from unimm.runs import stages
from unimm.runs.record import Result
from unimm.schema import RunConfig
from unimm.study.expand import expand_study
from unimm.study.layout import unit_folder

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


def run_alone(file: Path, out: Path) -> None:
    """Every run of the study by one rank, in this process."""
    plan = expand_study(file)
    for unit in plan.units:
        stages.run(
            RunConfig.model_validate({**plan.arms[unit.arm].config, "seed": unit.number}), unit_folder(out, unit)
        )


def test_a_study_of_two_ranks_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = write_study(tmp_path), tmp_path / "of2"
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    run_alone(file, tmp_path / "of1")
    command = [sys.executable, "-m", "unimm", "study", "run", str(file)]
    command += ["--out", str(out), "--collect", str(out / "kept"), "--ranks", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
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
