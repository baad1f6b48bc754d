"""What is said while a study runs, when it will be over, and what Optuna's tools read of it."""

from __future__ import annotations

import json
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from typer.testing import CliRunner

from unimm.cli import app
from unimm.files import write_json
from unimm.study import engines, launch
from unimm.study.layout import PlannedRun, log_file, unit_folder
from unimm.study.pace import seconds_left
from unimm.study.plan import StudyPlan
from unimm.study.queue import RunQueue, State
from unimm.study.status import describe, idle, summary
from unimm.study.watching import Watch

runner = CliRunner()
DONE, RUNNING, WAITING, FAILED = State.DONE, State.RUNNING, State.WAITING, State.FAILED


def write_result(
    folder: Path, plan: StudyPlan, run: PlannedRun, value: float | None, train: float, rest: float
) -> None:
    config = {**plan.arms[run.arm].config, "seed": run.number}
    speed = {"train_seconds": train, "score_seconds": rest}
    scores = [{"name": "geneval/overall", "value": value}]
    record = {"arm": run.arm, "seed": run.number, "hashes": {}, "config": config, "speed": speed, "scores": scores}
    write_json(unit_folder(folder, run) / "result.json", record)


def log(folder: Path, run: PlannedRun, samples: float, seconds: float) -> None:
    unit_folder(folder, run).mkdir(parents=True, exist_ok=True)
    row = {"step": 1, "samples": samples, "seconds": seconds}
    (unit_folder(folder, run) / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def test_time_left_is_what_arms_took_shared_by_those_that_run(tmp_path: Path, make_plan) -> None:
    """Two of the four samples of b/seed1 are done: of 120 s, 100 of them training, 70 are left; a waits with 60."""
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=2)
    states = dict.fromkeys(plan.units, DONE)
    write_result(tmp_path, plan, PlannedRun("a", 0), 0.5, 50, 10)
    write_result(tmp_path, plan, PlannedRun("b", 0), 0.5, 100, 20)
    log(tmp_path, PlannedRun("b", 1), 2, 50)
    states |= {PlannedRun("a", 1): WAITING, PlannedRun("b", 1): RUNNING}
    assert seconds_left(tmp_path, plan, states) == pytest.approx(130)
    assert seconds_left(tmp_path, plan, states | {PlannedRun("a", 1): RUNNING}) == pytest.approx(70)
    assert "about 130.0 s left" in summary(tmp_path, plan, states)
    assert seconds_left(tmp_path, plan, states | {PlannedRun("b", 1): WAITING}) is None, "nothing runs"


def test_who_waits_for_nobody_is_told_what_starts_it(tmp_path: Path, make_plan) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=1)
    first, second = plan.units
    assert idle(plan, {first: DONE, second: WAITING}, "unimm study run f.yaml").endswith("\n  unimm study run f.yaml")
    for states in ({first: RUNNING, second: WAITING}, {first: DONE, second: FAILED}, {first: DONE, second: DONE}):
        assert idle(plan, states, "unimm study run f.yaml") == ""


def test_before_anything_is_done_what_runs_says_it(tmp_path: Path, make_plan) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=1)
    states = {PlannedRun("a", 0): RUNNING, PlannedRun("b", 0): WAITING}
    assert seconds_left(tmp_path, plan, states) is None
    log(tmp_path, PlannedRun("a", 0), 1, 30)
    assert seconds_left(tmp_path, plan, states) == pytest.approx(90 + 120)


def test_a_line_says_what_began_and_what_ended(tmp_path: Path, make_plan) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=1)
    a, b = plan.units
    watch = Watch(tmp_path, plan, {a: WAITING, b: WAITING})
    assert watch.changes({a: RUNNING, b: WAITING}) == ["a/seed0 running"]
    log(tmp_path, a, 2, 1)
    assert watch.running({a: RUNNING, b: WAITING}) == "about 3.0 s left, a/seed0 50%"
    assert watch.share({a: RUNNING, b: WAITING}) == pytest.approx(0.25)
    write_result(tmp_path, plan, a, 0.25, 1, 1)
    log_file(tmp_path, b).parent.mkdir()
    log_file(tmp_path, b).write_text("Traceback\n--- failed: exit code 1\n")
    assert watch.changes({a: DONE, b: FAILED}) == [
        "a/seed0 done: geneval/overall 0.250",
        "b/seed0 failed: --- failed: exit code 1",
    ]
    assert watch.changes({a: DONE, b: FAILED}) == []


def test_a_table_that_is_too_wide_says_it_by_state(tmp_path: Path, make_plan, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=12)
    states = {run: DONE if run.number < 3 else WAITING for run in plan.units}
    for run in plan.units[:6]:
        write_result(tmp_path, plan, run, 0.5, 1, 1)
    lines = describe(tmp_path, plan, states).splitlines()
    assert lines[0] == "a: seeds 0, 1, 2 done; 3, 4, 5, 6, 7, 8, 9, 10, 11 waiting"
    assert all(len(line) <= 80 for line in lines)


def test_watching_ends_when_all_is_done(tmp_path: Path, make_plan) -> None:
    plan = make_plan(tmp_path, {"a": 0}, seeds=1)
    write_result(tmp_path, plan, PlannedRun("a", 0), 0.5, 1, 1)
    shown = runner.invoke(app, ["study", "status", str(tmp_path), "--watch"])
    assert shown.exit_code == 0, shown.output
    assert "fakes: 1 done of 1 runs" in shown.stdout


def test_a_launch_says_what_happens_and_the_queue_has_the_scores(
    tmp_path: Path, make_plan, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(tmp_path / "study", {"a": 0, "b": 0}, seeds=1)
    values = {"a": 0.25, "b": None}

    def start(command, workers, folder, ranks) -> None:
        queue = RunQueue(folder, plan, None)

        def execute(run, attempt, lock) -> None:
            write_result(folder, plan, run, values[run.arm], 1, 1)

        for _ in plan.units:
            queue.work_one(execute)

    monkeypatch.setattr(engines, "engine", lambda name: start)
    launch.launch(plan, launch.Places(tmp_path / "study", tmp_path / "kept"), "local", 1, None)
    said = capsys.readouterr().err
    assert "a/seed0 done: geneval/overall 0.250" in said and "b/seed0 done: geneval/overall n/a" in said
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/study/queue.db")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study/queue.db")
    assert study.direction.name == "MAXIMIZE" and study.metric_names == ["geneval/overall"]
    assert {trial.user_attrs["run"]: trial.value for trial in study.trials} == {"a/seed0": 0.25, "b/seed0": None}


def test_optunas_dashboard_shows_the_queue(tmp_path: Path, make_plan) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    plan = make_plan(tmp_path, {"a": 0}, seeds=1)

    def execute(run, attempt, lock) -> None:
        write_result(tmp_path, plan, run, 0.25, 1, 1)

    RunQueue(tmp_path, plan, None).work_one(execute)
    served = dashboard.wsgi(f"sqlite:///{tmp_path}/queue.db")
    assert 0.25 in [trial["values"][0] for trial in asked(served, "/api/studies/1")["trials"]]


def asked(served, path: str) -> dict:
    """The JSON that a WSGI application answers with."""
    status: list[str] = []
    environment: dict[str, object] = {"PATH_INFO": path}
    setup_testing_defaults(environment)
    body = b"".join(served(environment, lambda code, headers, error=None: status.append(code)))
    assert status[0].startswith("200"), status
    return json.loads(body)
