"""`unimm study` as a user types it: messages for mistakes, and one real tiny study from file to collected results."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from unimm.cli import app
from unimm.runs.planned import config_hash
from unimm.runs.record import Result

ABLATIONS = Path(__file__).parents[2] / "ablations"
runner = CliRunner()


def test_status_shows_a_table_and_the_reports_folder_stays_as_it_is(tmp_path, make_plan) -> None:
    make_plan(tmp_path, {"a": 0, "b": 0}, seeds=2)
    shown = runner.invoke(app, ["study", "status", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[0].split() == ["arm", "seed", "0", "seed", "1"]
    assert "fakes: 4 waiting of 4 runs" in shown.stdout
    assert shown.stdout.endswith(
        f"no run is running; what waits is started by\n  unimm study run FILE.yaml --out {tmp_path}\n"
    )
    assert not (tmp_path / "queue.db").exists()


def test_status_of_a_file_that_never_ran_here_is_the_committed_one(tmp_path, monkeypatch, make_plan) -> None:
    monkeypatch.chdir(tmp_path)
    make_plan(tmp_path / "reports" / "fakes", {"a": 0}, seeds=2)
    shown = runner.invoke(app, ["study", "status", "fakes.yaml"])
    assert shown.exit_code == 0 and "fakes: 2 waiting of 2 runs" in shown.stdout
    assert shown.stdout.endswith("started by\n  unimm study run fakes.yaml\n")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["status", "absent"], "holds no study"),
        (["resume", "absent.yaml"], "holds no study"),
        (["work", "absent"], "holds no study"),
        (["run", "absent.yaml"], "no such file"),
    ],
)
def test_mistakes_give_one_message(arguments: list[str], fragment: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["study", *arguments])
    assert result.exit_code == 2, result.output
    assert fragment in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_power_says_what_seeds_can_find_before_anything_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = runner.invoke(app, ["study", "power", str(ABLATIONS / "studies/as_published.yaml"), "--seeds", "5"])
    assert told.exit_code == 0, told.output
    first, _, *claims = told.stdout.splitlines()
    assert first.startswith("What 5 seeds an arm can find") and claims[0].split()[0] == "clip_over_vae_alignment"
    assert not list(tmp_path.iterdir())


def test_power_takes_spreads_from_pilots_and_names_distances_on_the_linear_scale(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, reports = ABLATIONS / "studies/as_published.yaml", ABLATIONS.parent / "reports"
    told = runner.invoke(app, ["study", "power", str(file), "--pilots", str(reports / "as_published")])
    assert told.exit_code == 0, told.output
    assert "pilots of 3 seeds" in told.stdout and "chance to find that" in told.stdout
    assert "claim 'fm_over_mse_quality': distances are skewed over seeds; compare them with `scale: log`" in told.stderr
    other = runner.invoke(app, ["study", "power", str(file), "--pilots", str(reports / "caption_mix")])
    assert other.exit_code == 2 and "no claim has its arms and metric there" in other.stderr


def test_an_unknown_engine_is_named_before_anything_runs(tmp_path, make_plan) -> None:
    make_plan(tmp_path, {"a": 0}, seeds=1)
    result = runner.invoke(
        app, ["study", "resume", str(tmp_path), "--engine", "slrum", "--collect", str(tmp_path / "r")]
    )
    assert result.exit_code == 2
    assert "did you mean 'slurm'?" in result.stderr


def test_report_collects_first_and_is_written_beside_the_results(tmp_path, make_plan, monkeypatch) -> None:
    make_plan(tmp_path / "study", {"a": 0}, seeds=1)
    monkeypatch.setattr("unimm.report.study.page.build", lambda folder: SimpleNamespace(answers=[], folder=folder))
    monkeypatch.setattr("unimm.report.study.page.write_report", lambda report: report.folder / "report.html")
    for options, target in (["--collect", str(tmp_path / "kept")], "kept"), ([], "study"):
        result = runner.invoke(app, ["study", "report", str(tmp_path / "study"), *options])
        assert result.exit_code == 0, result.output
        assert result.stdout.replace("\n", "") == str(tmp_path / target / "report.html")
        assert (tmp_path / target / "plan.json").is_file()


@pytest.mark.slow
@pytest.mark.repeat  # tests/end_to_end/test_study_ranks.py has one
def test_a_real_study_runs_and_collects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["vae_mse"]}}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [claim]}))
    study = {
        "question": "Which features?",
        "profile": "tiny",
        "seeds": 1,
        "overrides": ["head=linear", "training.snapshots=0", "evaluation.metrics=[geneval]", "data.train_scenes=16"],
        "arms": [str(ABLATIONS / "vae_mse.yaml"), str(ABLATIONS / "vae_mse_joint.yaml")],
        "declared_differences": ["strategy"],
        "claims": "claims.yaml",
    }
    (tmp_path / "features.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    done = runner.invoke(app, ["study", "run", "features.yaml", "--workers", "1"])
    assert done.exit_code == 0, (done.output, [log.read_text()[-2000:] for log in tmp_path.rglob("*.log")])
    assert "features: 2 done of 2 runs" in done.stdout
    assert "vae_mse/seed0 done: geneval/overall" in done.stderr
    assert "✓ supported: It holds." in done.stdout and done.stdout.rstrip().endswith("reports/features/report.html")
    for folder in (tmp_path / "experiments/runs/studies/features", tmp_path / "reports/features"):
        plan = json.loads((folder / "plan.json").read_text())
        for arm, planned in plan["arms"].items():
            run = folder / "runs" / arm / "seed0"
            result = Result.model_validate_json((run / "result.json").read_text())
            assert (result.arm, config_hash(result.config)) == (arm, planned["hash"])
            kept = ("items.json", "samples/grid.json", "samples/sheet.png")
            assert all((run / name).is_file() for name in kept)
