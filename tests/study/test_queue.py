"""The queue with real workers and fake runs: crashes, kills at random moments, no run twice, none lost."""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from unimm.files import write_atomic, write_json
from unimm.report.study import folder
from unimm.runs.planned import PlannedArm, config_hash
from unimm.runs.record import FAILED
from unimm.study import collect, database, launch
from unimm.study.layout import ATTEMPTS, PlannedRun, failures, lock_file, log_file, unit_folder
from unimm.study.plan import StudyPlan
from unimm.study.processes import Children, Lock, is_held
from unimm.study.queue import QueueStep, RunQueue, State
from unimm.study.status import describe, read_states


def test_a_crash_fails_only_its_run_after_two_retries(tmp_path, make_plan, processes, noted) -> None:
    plan = make_plan(tmp_path, {"bad": 99, "flaky": 2, "good": 0}, seeds=1)
    processes.finish("work", tmp_path)
    states = read_states(tmp_path, plan, None)
    assert {run.arm: state for run, state in states.items()} == {"bad": "failed", "flaky": "done", "good": "done"}
    starts = noted(tmp_path)
    assert [starts[f"{arm}/seed0 start"] for arm in plan.arms] == [3, 3, 1]
    text = describe(tmp_path, plan, states)
    assert "2 done, 1 failed of 3 runs" in text
    assert "no memory left on this device" in text
    RunQueue(tmp_path, plan, None).restart()
    assert read_states(tmp_path, plan, None)[PlannedRun("bad", 0)] is State.WAITING


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.repeat)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_stopped_at_random_moments_lose_no_run_and_do_none_twice(
    tmp_path, make_plan, processes, check_complete, number, kills
) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=2)
    moments = random.Random(number)
    for _ in range(kills):
        worker = processes.start("work", tmp_path)
        time.sleep(moments.uniform(0.5, 1.5))
        worker.send_signal(number)
        worker.wait(timeout=20)
    processes.finish("work", tmp_path)
    check_complete(tmp_path, plan, kills)


def test_finished_runs_are_collected_at_once_and_arms_keep_pace_across_kills(
    tmp_path, make_plan, processes, noted
) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0, "c": 0}, seeds=2)
    started = [f"{run} start" for run in plan.units]
    assert [line.split("/")[0] for line in started] == ["a", "b", "c"] * 2
    launcher = processes.start("launch", tmp_path, "1")
    wait_until(lambda: (tmp_path / "executions.txt").exists() and noted(tmp_path)["b/seed0 step 2"])
    launcher.kill()
    launcher.wait()
    for run in plan.units:
        assert plan.is_done(tmp_path / "collected", run) == plan.is_done(tmp_path, run) == (run == PlannedRun("a", 0))
    wait_until(lambda: not any(is_held(lock_file(tmp_path, run)) for run in plan.units))
    there = tmp_path / "there"
    make_plan(there, {"a": 0, "b": 0, "c": 0}, seeds=2)
    collect.adopt(tmp_path / "collected", there, plan)
    assert plan.is_done(there, PlannedRun("a", 0))
    processes.finish("launch", tmp_path, "1")
    lines = [line for line in (tmp_path / "executions.txt").read_text().splitlines() if line.endswith("start")]
    assert lines == [*started[:2], *started[1:]]


def test_a_launch_notes_why_runs_failed(tmp_path, make_plan, monkeypatch) -> None:
    plan = make_plan(tmp_path / "study", {"a": 0}, seeds=1)

    def start(command, workers, there, ranks) -> None:
        write_atomic(log_file(there, PlannedRun("a", 0)), f"{FAILED}exit code 1\n")

    monkeypatch.setattr("unimm.study.engines.engine", lambda name: start)
    launch.launch(plan, launch.Places(tmp_path / "study", tmp_path / "kept"), "local", 1, None)
    assert folder.read(tmp_path / "kept").missing == {("a", 0): "failed: exit code 1"}


def test_a_launch_fails_before_it_runs_where_results_of_another_plan_are_kept(tmp_path, make_plan) -> None:
    plan = make_plan(tmp_path / "study", {"a": 0}, seeds=1)
    make_plan(tmp_path / "kept", {"a": 1}, seeds=1)
    with pytest.raises(ValueError, match="holds results of another plan"):
        launch.launch(plan, launch.Places(tmp_path / "study", tmp_path / "kept"), "local", 1, None)
    assert not (tmp_path / "study/queue.db").exists()


def wait_until(holds, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_killed_launcher_takes_its_workers_with_it_and_the_next_one_finishes(
    tmp_path, make_plan, processes, check_complete
) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=2)
    launcher = processes.start("launch", tmp_path)
    wait_until((tmp_path / "executions.txt").exists)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not any(is_held(lock_file(tmp_path, run)) for run in plan.units))
    stopped = (tmp_path / "executions.txt").read_text()
    time.sleep(0.5)
    assert (tmp_path / "executions.txt").read_text() == stopped
    processes.finish("launch", tmp_path)
    check_complete(tmp_path, plan, kills=2)
    assert all(plan.is_done(tmp_path / "collected", run) for run in plan.units)


def finish_by_hand(folder: Path, plan: StudyPlan) -> None:
    """Every run as if it had run, without a process."""
    for run in plan.units:
        out = unit_folder(folder, run)
        for name in (
            "config.yaml",
            "items.json",
            "data_card.json",
            "last.ckpt",
            "samples/sheet.png",
            "samples/grid.json",
        ):
            write_atomic(out / name, f"{run}: {name}")
        finish_run(folder, plan, run)


def finish_run(folder: Path, plan: StudyPlan, run: PlannedRun) -> None:
    """The result that makes a run count as done."""
    config = {**plan.arms[run.arm].config, "seed": run.number}
    record = {"arm": run.arm, "seed": run.number, "hashes": {}, "config": config}
    write_json(unit_folder(folder, run) / "result.json", record)


def test_another_machine_continues_from_committed_results(tmp_path, make_plan, processes, noted) -> None:
    here, committed, there = tmp_path / "here", tmp_path / "reports", tmp_path / "there"
    plan = make_plan(here, {"a": 0, "b": 0}, seeds=1)
    finish_by_hand(here, plan)
    assert collect.collect(here, plan, committed) == 2
    assert sorted(file.name for file in (committed / "runs/a/seed0").rglob("*.*")) == [
        "config.yaml",
        "data_card.json",
        "grid.json",
        "items.json",
        "result.json",
        "sheet.png",
    ]
    (committed / "runs/b/seed0/result.json").unlink()
    make_plan(there, {"a": 0, "b": 0}, seeds=1)
    collect.adopt(committed, there, plan)
    processes.finish("work", there)
    assert noted(there)["b/seed0 result"] == 1
    assert noted(there)["a/seed0 start"] == 0


def test_why_a_run_failed_is_collected_until_it_succeeds(tmp_path, make_plan) -> None:
    here, committed = tmp_path / "here", tmp_path / "reports"
    plan = make_plan(here, {"a": 0}, seeds=1)
    log = log_file(here, PlannedRun("a", 0))
    log.parent.mkdir()
    log.write_text(f"step 3\n{FAILED}exit code 1\n")
    assert collect.collect(here, plan, committed) == 0
    noted = committed / "runs/a/seed0/failed.json"
    assert json.loads(noted.read_text()) == {"reason": "exit code 1", "log": ["step 3", f"{FAILED}exit code 1"]}
    assert folder.read(committed).missing == {("a", 0): "failed: exit code 1"}
    finish_by_hand(here, plan)
    assert collect.collect(here, plan, committed) == 1 and not noted.exists()


def test_results_of_another_configuration_do_not_count(tmp_path, make_plan) -> None:
    plan = make_plan(tmp_path / "old", {"a": 0}, seeds=1)
    finish_by_hand(tmp_path / "old", plan)
    changed = make_plan(tmp_path / "new", {"a": 1}, seeds=1)
    collect.adopt(tmp_path / "old", tmp_path / "new", changed)
    assert not changed.is_done(tmp_path / "new", PlannedRun("a", 0))
    with pytest.raises(ValueError, match="holds results of another plan"):
        collect.collect(tmp_path / "old", plan, tmp_path / "new")


@pytest.mark.parametrize("newer", ["plan", "result"])
def test_results_count_whichever_unimm_stored_them(tmp_path, make_plan, newer) -> None:
    """The fakes' configurations leave out every default; a later unimm stores `weight_decay` besides."""
    here, there = tmp_path / "here", tmp_path / "there"
    plan, run = make_plan(here, {"a": 0}, seeds=1), PlannedRun("a", 0)
    finish_by_hand(here, plan)
    path = here / "runs/a/seed0/result.json"
    record = json.loads(path.read_text())
    config = record["config"]
    config["training"] = {**config["training"], "weight_decay": 0.01}
    if newer == "plan":
        arm = PlannedArm("a.yaml", config_hash(config), {k: v for k, v in config.items() if k != "seed"})
        plan = replace(plan, arms={"a": arm})
    else:
        write_json(path, record)
    assert plan.is_done(here, run)
    collect.adopt(here, there, plan)
    assert plan.is_done(there, run)
    collect.collect(here, plan, tmp_path / "reports")
    assert plan.is_done(tmp_path / "reports", run)
    write_json(path, record | {"config": {**config, "training": {**config["training"], "weight_decay": 0.1}}})
    assert not plan.is_done(here, run)
    write_json(path, record | {"config": {**config, "training": {**config["training"], "momentum": 0.9}}})
    with pytest.raises(ValueError, match=r"result.json: training.momentum: training reads no 'momentum'"):
        plan.is_done(here, run)


def test_a_run_that_somebody_holds_is_left_alone(tmp_path, make_plan) -> None:
    plan = make_plan(tmp_path, {"a": 0}, seeds=1)
    work = RunQueue(tmp_path, plan, None)
    holder = Lock(lock_file(tmp_path, PlannedRun("a", 0)))
    assert holder.acquire(wait=False)
    assert work.work_one(pytest.fail) is QueueStep.OTHERS_WORK
    holder.release()
    assert not is_held(holder.path)
    taken = []
    assert work.work_one(lambda run, attempt, lock: taken.append((str(run), attempt))) is QueueStep.WORKED
    assert taken == [("a/seed0", 1)]


def test_a_trial_of_a_dead_worker_goes_stale_and_an_empty_one_is_pruned(tmp_path, make_plan, monkeypatch) -> None:
    monkeypatch.setattr(database, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(database, "GRACE_SECONDS", 1)
    work = RunQueue(tmp_path, make_plan(tmp_path, {"a": 0}, seeds=1), None)
    work.study.optimize(work._objective(pytest.fail), n_trials=1)
    work._offer()
    dead = work.study.ask()
    work.study._storage.record_heartbeat(dead._trial_id)
    time.sleep(2.2)
    work._offer()
    assert [trial.state.name for trial in work.study.get_trials()] == ["PRUNED", "FAIL", "WAITING"]
    assert work.study.get_trials()[-1].user_attrs == {"run": "a/seed0", "attempt": 1}


def test_a_run_that_says_it_cannot_be_made_is_tried_once_until_somebody_starts_again(tmp_path, make_plan) -> None:
    plan, run = make_plan(tmp_path, {"a": 0}, seeds=1), PlannedRun("a", 0)
    work, tried = RunQueue(tmp_path, plan, None), []

    def execute(unit, attempt, lock) -> None:
        tried.append(attempt)
        raise Children().failed(2, log_file(tmp_path, unit))

    log_file(tmp_path, run).parent.mkdir()
    assert [work.work_one(execute), work.work_one(execute)] == [QueueStep.WORKED, QueueStep.FINISHED]
    assert (tried, work.states()) == ([1], {run: State.FAILED})
    assert failures(tmp_path, run) == ATTEMPTS
    assert "another attempt would repeat" in log_file(tmp_path, run).read_text()
    work.restart()
    assert work.states() == {run: State.WAITING}


def test_claims_read_each_result_once_and_make_again_what_was_deleted(tmp_path, make_plan, monkeypatch) -> None:
    plan = make_plan(tmp_path, {"a": 0, "b": 0}, seeds=4)
    queue, made, read = RunQueue(tmp_path, plan, None), [], []
    of_planned = StudyPlan._is_of
    monkeypatch.setattr(StudyPlan, "_is_of", lambda *these: read.append(these[2]) or of_planned(*these))

    def execute(run, attempt, lock) -> None:
        made.append(run)
        finish_run(tmp_path, plan, run)

    steps = [queue.work_one(execute) for _ in range(9)]
    assert steps == [QueueStep.WORKED] * 8 + [QueueStep.FINISHED]
    assert made == read == plan.units
    (unit_folder(tmp_path, made[2]) / "result.json").unlink()
    assert queue.work_one(execute) is QueueStep.WORKED and made[8] == made[2]
    assert set(queue.states().values()) == {State.DONE} and len(read) == 9


def test_a_result_that_was_changed_is_read_again(tmp_path, make_plan) -> None:
    plan, run = make_plan(tmp_path, {"a": 0}, seeds=1), PlannedRun("a", 0)
    finish_run(tmp_path, plan, run)
    assert plan.is_done(tmp_path, run)
    path = unit_folder(tmp_path, run) / "result.json"
    write_json(path, json.loads(path.read_text()) | {"seed": 1})
    assert not plan.is_done(tmp_path, run)
