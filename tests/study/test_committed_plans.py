"""Plans that are committed stay what they are: their hashes hold, and they are written again byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unimm.files import write_json
from unimm.runs.record import PLAN
from unimm.study.layout import PlannedRun, PlannedTrial, config_file, lock_file, log_file, settings_file, unit_folder
from unimm.study.plan import KIND, Plan, StudyPlan, TuningPlan, hashed, read_plan

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "reports").glob(f"*/{PLAN}"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_committed_plan_is_read_and_written_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    plan = read_plan(folder)
    tuning = json.loads((folder / PLAN).read_text()).get("kind") == KIND
    assert isinstance(plan, TuningPlan if tuning else StudyPlan)
    assert hashed(plan) == plan
    write_json(tmp_path / PLAN, plan.content())
    assert (tmp_path / PLAN).read_bytes() == (folder / PLAN).read_bytes()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_count_as_done(folder: Path) -> None:
    plan: Plan = read_plan(folder)
    arm = next(iter(plan.arms))
    assert plan.is_done(folder, plan.unit(arm, plan.numbers[0]))
    assert not plan.is_done(folder, plan.unit(arm, 99))


def test_folders_that_an_earlier_unimm_made_are_found() -> None:
    folder, run, trial = Path("f"), PlannedRun("clip_fm", 1), PlannedTrial("clip_fm", 1)
    files = {
        unit_folder(folder, run): "f/runs/clip_fm/seed1",
        unit_folder(folder, trial): "f/trials/clip_fm/trial1",
        config_file(folder, run): "f/configs/clip_fm-seed1.yaml",
        settings_file(folder, trial): "f/settings/clip_fm-trial1.json",
        log_file(folder, run): "f/logs/clip_fm-seed1.log",
        log_file(folder, trial): "f/logs/clip_fm-trial1.log",
        lock_file(folder, run): "f/locks/clip_fm-seed1.lock",
        lock_file(folder, trial): "f/locks/clip_fm-trial1.lock",
    }
    assert [str(path) for path in files] == list(files.values())
    assert len({run, trial, PlannedRun("clip_fm", 1)}) == 2
