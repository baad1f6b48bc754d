"""Tuning: the same budget for every arm, whatever is killed; and one real, tiny tuning that a study then uses."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from typer.testing import CliRunner

from unimm.cli import app
from unimm.files import write_atomic
from unimm.report.study import tuning as study_tuning
from unimm.runs.record import FAILED, GIVEN_UP, METRICS
from unimm.study import collect
from unimm.study.expand import expand_study, expand_tuning
from unimm.study.launch import freeze_tuning
from unimm.study.layout import PlannedTrial, failures, lock_file, log_file, unit_folder
from unimm.study.plan import TuningPlan
from unimm.study.processes import Children, Lock
from unimm.study.queue import ATTEMPTS, State
from unimm.study.trials import TrialQueue
from unimm.study.tuned import read_tuned

ABLATIONS = Path(__file__).parents[2] / "ablations"
ARMS = [str(ABLATIONS / "clip_fm.yaml"), str(ABLATIONS / "clip_mse.yaml")]
runner = CliRunner()


def write_tuning(folder: Path, **changes: Any) -> Path:
    content = {
        "question": "Which settings suit each arm?",
        "profile": "tiny",
        "arms": ARMS,
        "declared_differences": ["objective"],
        "seed": 9000,
        "trials": 4,
        "samples": 64,
        "prompts": 1,
        "metric": "atoms/overall",
        "sampler": {"name": "tpe", "startup": 2},
        "space": {
            "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "objective.shift": {"low": 0.5, "high": 4.0, "log": True},
        },
        "by_sampling": {"training.ema_length": [0.2, 0.5], "objective.guidance": [1.0, 3.0]},
        **changes,
    }
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> TuningPlan:
    return expand_tuning(write_tuning(tmp_path_factory.mktemp("plan")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, planned: TuningPlan) -> Path:
    """The reports of a finished tuning of fakes."""
    folder = tmp_path_factory.mktemp("search")
    freeze_tuning(planned, folder)
    command = [sys.executable, str(Path(__file__).with_name("fake_study.py")), "tune", str(folder)]
    subprocess.run(command, check=True, timeout=120)
    study_tuning.write(folder / "collected")
    return folder / "collected"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """The same to write in."""
    return Path(shutil.copytree(finished, tmp_path / "reports" / "search"))


def test_settings_that_an_arm_lacks_are_skipped(planned: TuningPlan) -> None:
    assert list(planned.space_of("clip_fm")) == ["training.learning_rate", "objective.shift"]
    assert list(planned.space_of("clip_mse")) == ["training.learning_rate"]
    assert list(planned.by_sampling_of("clip_mse")) == ["training.ema_length"]
    trials = planned.units
    assert [str(trial) for trial in trials[:3]] == ["clip_fm/trial0", "clip_mse/trial0", "clip_fm/trial1"]
    config = planned.config("clip_fm", {"objective.shift": 2.0})
    assert (config["seed"], config["objective"]["shift"], config["training"]["samples"]) == (9000, 2.0, 64)
    assert planned.arms["clip_fm"].config["objective"]["shift"] is None


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        (
            {"space": {"objective.shft": {"low": 1, "high": 2}}},
            ["no arm has a setting", "did you mean 'objective.shift'"],
        ),
        ({"space": {"objective.shift": {"low": 2, "high": 1}}}, ["low has to be below high"]),
        ({"space": {"objective.shift": {"low": -1, "high": 1}}}, ["objective.shift", "greater than 0"]),
        ({"space": {"objective.shift": {"low": 1, "hihg": 2}}}, ["hihg: nothing reads this key; did you mean 'high'"]),
        ({"space": {"training.samples": {"choices": [1, 2]}}}, ["training.samples: every arm gets the same budget"]),
        ({"by_sampling": {"objective.shift": [1.0]}}, ["objective.shift needs training again; move it to space"]),
        ({"by_sampling": {"objective.guidance": [0.5]}}, ["objective.guidance", "greater than or equal to 1"]),
        (
            {"by_sampling": {"training.ema_length": [0.2], "training.ema_decay": [0.2]}},
            ["training.ema_length and training.ema_decay take each other's place"],
        ),
        ({"declared_differences": []}, ["objective.name: flow_matching in clip_fm; mse in clip_mse"]),
        ({"metric": "atoms_longer/overall"}, ["metric"]),
        ({"metric": "geneval[mask2former]_long/overall"}, ["metric"]),
        ({"trials": 1}, ["trials"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        expand_tuning(write_tuning(tmp_path, **changes))
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


@pytest.mark.parametrize("name", ["tuning.yaml", "recipes.yaml"])
def test_the_shipped_tunings_plan(name: str) -> None:
    plan = expand_tuning(ABLATIONS / "studies" / name)
    assert len(plan.arms) == 8 and len(plan.units) == 8 * plan.trials
    assert {arm: len(plan.space_of(arm)) for arm in ("vae_fm", "vae_mse")} == {"vae_fm": 2, "vae_mse": 1}
    for study in ("design_choices.yaml", "as_published.yaml"):
        assert plan.seed not in expand_study(ABLATIONS / "studies" / study).seeds


def test_a_frozen_tuning_stays(tmp_path: Path, planned: TuningPlan) -> None:
    assert freeze_tuning(planned, tmp_path / "t") == TuningPlan.read(tmp_path / "t") == planned
    with pytest.raises(ValueError, match=r"trials: 4 in the folder, 5 in the file"):
        freeze_tuning(expand_tuning(write_tuning(tmp_path, trials=5)), tmp_path / "t")
    refused = runner.invoke(app, ["study", "resume", str(tmp_path / "t")])
    assert refused.exit_code == 2 and "holds a tuning, not a study" in refused.stderr


def test_status_of_a_tuning_needs_no_database_and_shows_why_a_trial_failed(tmp_path, planned) -> None:
    freeze_tuning(planned, tmp_path)
    log = log_file(tmp_path, PlannedTrial("clip_mse", 0))
    log.parent.mkdir(parents=True)
    log.write_text("the disk is full\n" + f"{FAILED}\n" * ATTEMPTS)
    write_atomic(unit_folder(tmp_path, PlannedTrial("clip_fm", 0)) / METRICS, '{"samples": 16}\n')
    shown = runner.invoke(app, ["study", "status", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    header, started, failed = shown.stdout.splitlines()[:3]
    assert header == "arm       trial 0      trial 1  trial 2  trial 3"
    assert started.split() == ["clip_fm", "waiting", "25%", "waiting", "waiting", "waiting"]
    assert failed.split() == ["clip_mse", "failed", "waiting", "waiting", "waiting"]
    assert "search: 7 waiting, 1 failed of 8 trials" in shown.stdout
    assert "clip_mse/trial0 failed; the end of" in shown.stdout and "  the disk is full" in shown.stdout
    assert not (tmp_path / "tuning.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.repeat)])
def test_workers_killed_at_random_moments_lose_no_trial_and_change_none(tmp_path, planned, processes, kills) -> None:
    folder = tmp_path / "search"
    freeze_tuning(planned, folder)
    moments, told = random.Random(1), {}
    for _ in range(kills):
        process = processes.start("tune", folder)
        time.sleep(moments.uniform(1.5, 3.0))
        process.kill()
        process.wait()
        for file in (folder / "settings").glob("*.json"):
            assert told.setdefault(file.name, file.read_text()) == file.read_text()
    two = [processes.start("tune", folder) for _ in range(2)]
    assert [process.wait(timeout=60) for process in two] == [0, 0]
    assert all(planned.record_of(folder / "collected", trial) for trial in planned.units)
    lines = (folder / "executions.txt").read_text().splitlines()
    assert sum(line.endswith("record") for line in lines) <= len(planned.units) + kills
    assert sum(lines.count(line) - 1 for line in set(lines) if " step " in line) <= kills
    for arm in planned.arms:
        trials = TrialQueue(folder, planned, None).studies[arm].get_trials()
        assert sorted(t.user_attrs["number"] for t in trials if t.state.is_finished() and "number" in t.user_attrs) == [
            1,
            2,
            3,
        ]


def test_asking_twice_gives_what_was_asked_for_and_orphans_are_dropped(tmp_path: Path, planned: TuningPlan) -> None:
    freeze_tuning(planned, tmp_path)
    trials, trial = TrialQueue(tmp_path, planned, None), PlannedTrial("clip_fm", 1)
    first = trials._ask(trial)
    assert trials._ask(trial) == first and set(first) == {"training.learning_rate", "objective.shift"}
    orphan = trials.studies["clip_fm"].ask()
    trials._tell()
    assert trials.studies["clip_fm"].get_trials()[orphan.number].state is optuna.trial.TrialState.FAIL
    assert TrialQueue(tmp_path, planned, None)._ask(trial) == first


def test_arms_draw_alike_and_no_trial_repeats(done: Path, planned: TuningPlan) -> None:
    rates = {
        arm: [
            planned.record_of(done, PlannedTrial(arm, n)).settings.params["training.learning_rate"] for n in (1, 2, 3)
        ]
        for arm in planned.arms
    }
    assert len(set(rates["clip_fm"])) == 3 and all(1e-4 <= rate <= 1e-2 for rate in rates["clip_fm"])
    assert rates["clip_fm"][0] == rates["clip_mse"][0], "the first random draw is the same for every arm"


def test_another_machine_goes_on_from_committed_trials(done, tmp_path, planned, processes) -> None:
    there = tmp_path / "there"
    freeze_tuning(planned, there)
    shutil.rmtree(done / "trials" / "clip_mse" / "trial3")
    collect.adopt(done, there, planned)
    processes.finish("tune", there)
    lines = (there / "executions.txt").read_text().splitlines()
    assert lines[0] == "clip_mse/trial3 start" and sum(line.endswith("start") for line in lines) == 1
    history = TrialQueue(there, planned, None).studies["clip_mse"].get_trials()
    assert sorted(trial.user_attrs["number"] for trial in history) == [1, 2, 3]
    with pytest.raises(ValueError, match="results of another plan"):
        collect.collect(done, freeze_tuning(expand_tuning(write_tuning(tmp_path, trials=3)), tmp_path / "other"), done)


def test_committed_trials_are_not_written_where_a_worker_writes(
    done: Path, tmp_path: Path, planned: TuningPlan
) -> None:
    there, trial = tmp_path / "there", PlannedTrial("clip_fm", 0)
    freeze_tuning(planned, there)
    with Lock(lock_file(there, trial)):
        collect.adopt(done, there, planned)
    assert [unit for unit in planned.units if not planned.is_done(there, unit)] == [trial]


def test_a_trial_that_succeeds_after_all_is_no_failure_any_more(
    done: Path, tmp_path: Path, planned: TuningPlan
) -> None:
    trial = PlannedTrial("clip_fm", 0)
    note = unit_folder(tmp_path / "kept", trial) / GIVEN_UP
    write_atomic(note, "{}")
    collect.collect(done, planned, tmp_path / "kept")
    assert planned.is_done(tmp_path / "kept", trial) and not note.exists()


@pytest.mark.slow
def test_a_diverging_trial_is_spent_and_named(tmp_path, planned, processes, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_RATE_LIMIT", "0.0007")  # less than the arms have as they stand
    folder = tmp_path / "search"
    freeze_tuning(planned, folder)
    processes.finish("tune", folder)
    trials = TrialQueue(folder, planned, None)
    failed = [trial for trial, state in trials.states().items() if state is State.FAILED]
    assert failed and all(failures(folder, trial) == 3 for trial in failed)
    collect.collect(folder, planned, folder / "collected")
    outcome = study_tuning.read(folder / "collected")
    assert outcome.problems() == []
    assert {PlannedTrial(arm, n) for arm, found in outcome.arms.items() for n in found.failed} == set(failed)
    study_tuning.write(folder / "collected")
    found = read_tuned(folder / "collected").arms["clip_fm"]
    assert (found.trials, found.untuned) == (4, None) and found.value > 0
    trials._tell()
    pruned = [t for t in trials.studies[failed[-1].arm].get_trials() if t.state is optuna.trial.TrialState.PRUNED]
    assert failed[-1].number in [trial.user_attrs["number"] for trial in pruned]
    trials.restart()
    assert trials.states()[failed[-1]] is State.WAITING


def test_what_was_found_is_written(done: Path, planned: TuningPlan) -> None:
    page = (done / "report.html").read_text()
    markdown = (done / "report.md").read_text()
    for text in (page, markdown):
        assert "Every arm spent the same budget" in text and "no such setting" in text and "optimistic" in text
    tuned = read_tuned(done)
    outcome = study_tuning.read(done)
    fm, mse = tuned.arms["clip_fm"], tuned.arms["clip_mse"]
    assert (fm.trials, fm.samples, fm.skipped) == (4, 256, ()) == (mse.trials, mse.samples, ())
    assert mse.skipped == ("objective.shift", "objective.guidance")
    assert fm.chosen["objective.guidance"] == 3.0 and fm.value >= fm.untuned
    assert fm.value == max(record.value for record in outcome.arms["clip_fm"].records.values())
    rows = (done / "trials.csv").read_text().splitlines()
    assert rows[0].startswith("tuning,arm,trial,samples_so_far,value,best_so_far,seconds,training.learning_rate")
    assert len(rows) == 9
    best = [float(row.split(",")[5]) for row in rows[1:5]]
    assert best == sorted(best) and best[-1] == pytest.approx(fm.value)
    assert (done / "figures" / "best_so_far.svg").is_file() and (done / "tables" / "tuned.tex").is_file()
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    study_tuning.write(done)
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda record: record.update(samples=128), "clip_mse trial 1: trained on 128 samples"),
        (lambda record: record.update(n=24), "clip_mse trial 1: scored on 24 images"),
        (lambda record: record["settings"]["config"].update(seed=1), "clip_mse trial 1: made with seed 1"),
        (lambda record: record["settings"].update(metric="geneval/overall"), "scored by geneval/overall"),
        (lambda record: record["settings"].update(by_sampling={}), "chose by sampling among other values"),
        (
            lambda record: record["settings"]["config"]["training"].update(batch_size=8),
            "differs in training.batch_size",
        ),
        (lambda record: record["settings"]["params"].update({"objective.x": 1}), "searched other settings"),
        (None, "clip_mse: 3 of 4 trials"),
    ],
)
def test_unequal_budgets_leave_no_tuned_settings(done: Path, edit: Any, problem: str) -> None:
    path = done / "trials" / "clip_mse" / "trial1" / "trial.json"
    if edit is None:
        path.unlink()
    else:
        record = json.loads(path.read_text())
        edit(record)
        path.write_text(json.dumps(record))
    assert any(problem in found for found in study_tuning.read(done).problems())
    study_tuning.write(done)
    assert not (done / "tuned.yaml").exists()
    assert problem in (done / "report.md").read_text()


def write_study(folder: Path, tuned: Path, **changes: Any) -> Path:
    claim = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["clip_fm_tuned"]}}
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [claim]}))
    study = {
        "question": "Which objective?",
        "profile": "tiny",
        "seeds": 1,
        "arms": ARMS,
        "declared_differences": ["objective"],
        "overrides": ["training.snapshots=0", "evaluation.metrics=[geneval]"],
        "tuned": str(tuned),
        "claims": "claims.yaml",
        **changes,
    }
    (folder / "objective.yaml").write_text(yaml.safe_dump(study))
    return folder / "objective.yaml"


def test_a_study_runs_tuned_arms_beside_the_others(done: Path, tmp_path: Path) -> None:
    plan = expand_study(write_study(tmp_path, done))
    assert list(plan.arms) == ["clip_fm", "clip_mse", "clip_fm_tuned", "clip_mse_tuned"]
    found = read_tuned(done).arms["clip_fm"].chosen
    config = plan.arms["clip_fm_tuned"].config
    assert config["training"]["learning_rate"] == found["training.learning_rate"]
    assert config["objective"]["shift"] == found["objective.shift"]
    assert (config["training"]["ema_decay"], config["training"]["ema_length"]) == (None, 0.5)
    assert plan.arms["clip_fm"].config["training"]["learning_rate"] == 0.001
    assert "training.learning_rate" in plan.declared_differences
    assert plan.tuned["arms"]["clip_mse_tuned"] == {
        "of": "clip_mse",
        "chosen": read_tuned(done).arms["clip_mse"].chosen,
        "skipped": ["objective.shift", "objective.guidance"],
    }
    assert (plan.tuned["trials"], plan.tuned["seed"]) == (4, 9000)


def test_an_arm_may_keep_its_own_average(done: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((done / "tuned.yaml").read_text())
    content["arms"]["clip_mse"]["chosen"]["training.ema_length"] = None
    (done / "tuned.yaml").write_text(yaml.safe_dump(content))
    plan = expand_study(write_study(tmp_path, done))
    kept = plan.arms["clip_mse_tuned"].config["training"]
    assert kept["ema_decay"] == 0.999 and "ema_length" not in kept
    assert {"training.ema_length", "training.ema_decay"} <= set(plan.declared_differences)
    content["arms"]["clip_fm"]["chosen"]["training.ema_length"] = None
    (done / "tuned.yaml").write_text(yaml.safe_dump(content))
    assert "training.ema_length" not in expand_study(write_study(tmp_path, done)).declared_differences


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"seeds": [0, 9000]}, "seed 9000 was tuned on and cannot be reported"),
        ({"profile": "nano"}, "settings were found for profile tiny, this study has nano"),
        (
            {"arms": [*ARMS, str(ABLATIONS / "vae_fm.yaml")], "declared_differences": ["objective", "encoder"]},
            "vae_fm not",
        ),
    ],
)
def test_tuned_settings_that_do_not_fit_are_refused(done: Path, tmp_path: Path, changes: Any, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        expand_study(write_study(tmp_path, done, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "difference", "contrast": {"clip_fm_tuned": 1, "clip_fm": -1}, "smallest_effect": 0.1},
        {"kind": "reach", "target": 0.5, "faster": "clip_fm_tuned", "slower": "clip_fm", "smallest_ratio": 1.2},
    ],
)
def test_claims_on_the_prompts_that_tuned_are_refused(done: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_study(tmp_path, done)
    measured = {"role": "primary", "metric": "atoms/overall", "direction": "higher", "budget": "flops"}
    entry = {"id": "it", "text": "So it is.", **measured, **changes}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [entry]}))
    with pytest.raises(ValueError, match=r"claim 'it': clip_fm_tuned: .* whose validation prompts chose"):
        expand_study(path)
    allowed = entry | {"budget": "generation_samples"}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [allowed]}))
    if changes["kind"] == "difference":
        assert expand_study(path).claims["claims"] == [allowed]


def test_a_child_that_dies_within_a_line_counts_as_failed(tmp_path: Path) -> None:
    log = log_file(tmp_path, PlannedTrial("clip_fm", 0))
    log.parent.mkdir()
    log.write_bytes(b"sampling:  40%|####      | 4/10")
    for _ in range(ATTEMPTS):
        Children().failed(-9, log)
    assert failures(tmp_path, PlannedTrial("clip_fm", 0)) == ATTEMPTS
    assert log.read_text().splitlines()[-1] == f"{FAILED}exit code -9"


def test_hand_made_unequal_budgets_are_refused(done: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((done / "tuned.yaml").read_text())
    content["arms"]["clip_fm"]["trials"] = 40
    (done / "tuned.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"different budgets.*clip_fm: 40 trials, 256 samples; clip_mse: 4 trials"):
        expand_study(write_study(tmp_path, done))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_tuning_and_the_study_that_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    one = {"arms": ARMS[:1], "declared_differences": []}
    small = ["data.train_scenes=16", "head.width=16", "head.layers=1", "head.heads=2"]
    write_tuning(tmp_path, trials=2, overrides=small, metric="atoms_long/overall", **one)
    tuned = runner.invoke(app, ["study", "tune", "search.yaml"])
    assert tuned.exit_code == 0, (tuned.output, [log.read_text()[-2000:] for log in tmp_path.rglob("*.log")])
    assert "search: 2 done of 2 trials" in tuned.stdout
    reports = tmp_path / "reports" / "search"
    outcome = study_tuning.read(reports)
    assert outcome.problems() == []
    assert not [*Path("experiments").rglob("*.safetensors"), *Path("experiments").rglob("last.ckpt")]
    for record in outcome.arms["clip_fm"].records.values():
        values = [evaluation.value for evaluation in record.evaluations]
        assert record.untuned == values[0] and record.value == max(values) and len(values) <= 5
        assert record.samples == 64 and record.settings.config["seed"] == 9000
    again = runner.invoke(app, ["study", "tune", "search.yaml"])
    assert again.exit_code == 0 and "2 done" in again.stdout
    plan = expand_study(write_study(tmp_path, reports, **one))
    assert (
        plan.arms["clip_fm_tuned"].config["objective"]["guidance"]
        == read_tuned(reports).arms["clip_fm"].chosen["objective.guidance"]
    )


@pytest.mark.parametrize(
    ("states", "code"), [(["failed", "failed"], 1), (["done", "failed"], 0), (["done", "waiting"], 1)]
)
def test_a_tuning_says_that_trials_failed_and_ends_well_only_with_some(
    tmp_path, planned, monkeypatch, states, code
) -> None:
    """Every second trial stands in the one state, the others in the other."""
    found = {trial: State(states[number % 2]) for number, trial in enumerate(planned.units)}
    for trial in planned.units:
        log_file(tmp_path, trial).parent.mkdir(exist_ok=True)
        log_file(tmp_path, trial).write_text("the loss is not finite\n")
    monkeypatch.setattr("unimm.study.launch.plan_tuning", lambda path, places: planned)
    monkeypatch.setattr("unimm.study.launch.launch", lambda *arguments: found)
    monkeypatch.setattr("unimm.study.pace._took", lambda folder, unit: None)
    monkeypatch.setattr("unimm.report.study.tuning.write", lambda folder: folder / "report.html")
    done = runner.invoke(
        app, ["study", "tune", "search.yaml", "--out", str(tmp_path), "--collect", str(tmp_path / "r")]
    )
    assert done.exit_code == code, done.output
    assert ("trials failed; their logs are in" in done.stderr) == ("failed" in states)
    assert ("report.html" in done.stdout) == ("done" in states)
