"""`unimm study run --ranks 2` from a file to collected results: a run in stages is that of one rank up to rounding."""

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
from unimm.runs.planned import config_hash
from unimm.runs.record import Result
from unimm.schema import RunConfig
from unimm.study.expand import expand_study
from unimm.study.layout import unit_folder

ABLATIONS = Path(__file__).parents[2] / "ablations"
LOSSES = 1e-5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
STAGES = ("first", "second")
KEPT = ("items.json", "samples/grid.json", "samples/sheet.png")


def write_study(folder: Path) -> Path:
    claim = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["staged"]}}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [claim]}))
    stages = dict(zip(STAGES, ({"samples": 64}, {"samples": 32, "learning_rate": 3e-4}), strict=True))
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
        "arms": ["staged.yaml"],
        "claims": "claims.yaml",
    }
    (folder / "ranks.yaml").write_text(yaml.safe_dump(study))
    return folder / "ranks.yaml"


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_study_of_two_ranks_is_that_of_one_and_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, one = write_study(tmp_path), tmp_path / "of1"
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    plan = expand_study(file)
    (unit,) = plan.units
    stages.run(RunConfig.model_validate({**plan.arms["staged"].config, "seed": unit.number}), one)
    command = [sys.executable, "-m", "unimm", "study", "run", file.name, "--ranks", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    there, reports = tmp_path / "experiments/runs/studies/ranks", tmp_path / "reports/ranks"
    logs = [log.read_text()[-3000:] for log in there.glob("logs/*.log")]
    assert done.returncode == 0 and "ranks: 1 done of 1 runs" in done.stdout, (done.stdout, done.stderr, logs)
    assert "staged/seed0 done: geneval/overall" in done.stderr
    assert "supported: It holds." in done.stdout and done.stdout.rstrip().endswith("reports/ranks/report.html")
    for folder in (there, reports):
        assert json.loads((folder / "plan.json").read_text())["arms"]["staged"]["hash"] == plan.arms["staged"].hash
        result = Result.model_validate_json((unit_folder(folder, unit) / "result.json").read_text())
        assert (result.arm, config_hash(result.config)) == ("staged", plan.arms["staged"].hash)
        assert all((unit_folder(folder, unit) / name).is_file() for name in KEPT)
    for stage in STAGES:
        assert losses(unit_folder(there, unit) / stage) == pytest.approx(losses(one / stage), rel=LOSSES)
    alone = Result.model_validate_json((one / "result.json").read_text())
    assert alone.counts == result.counts and alone.data is not None and alone.data == result.data
    assert len(alone.stages) == len(result.stages) == len(STAGES)
