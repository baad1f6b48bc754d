"""A plan names its foundations by the hashes of their parts: those that runs record, and that a rebuilt one lacks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unimm.files import write_json
from unimm.foundation.card import SHIPPED, fingerprints
from unimm.runs.record import PLAN
from unimm.study.expand import expand_study
from unimm.study.launch import freeze_study
from unimm.study.layout import unit_folder
from unimm.study.plan import StudyPlan, hashed, read_plan
from unimm.study.worker import open_queue

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations" / "clip_mse.yaml"
COMMITTED = ROOT / "reports" / "design_choices"


@pytest.fixture
def foundation(tmp_path: Path) -> Path:
    """The card of the shipped foundation in a folder of its own: planning reads no weights."""
    folder = tmp_path / "foundation"
    folder.mkdir()
    (folder / "card.json").write_bytes((SHIPPED / "scenes-nano" / "card.json").read_bytes())
    return folder


def rebuild(foundation: Path, part: str) -> None:
    card = json.loads((foundation / "card.json").read_text())
    card["files"] = {f: "0" * 64 if f.startswith(f"{part}/") else value for f, value in card["files"].items()}
    write_json(foundation / "card.json", card)


def write_study(folder: Path, foundation: Path | str, **changes: Any) -> Path:
    holds = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["clip_mse"]}}
    write_json(folder / "claims.yaml", {"alpha": 0.05, "claims": [holds]})
    content = {"question": "Which?", "profile": "tiny", "seeds": 1, "arms": [str(ARM)], "claims": "claims.yaml"}
    write_json(folder / "parts.yaml", content | {"overrides": [f'foundation="{foundation}"']} | changes)
    return folder / "parts.yaml"


def test_a_new_plan_has_the_hashes_that_runs_record() -> None:
    plan = expand_study(ROOT / "ablations/studies/design_choices.yaml")
    result = json.loads((COMMITTED / "runs/clip_fm/seed0/result.json").read_text())
    recorded = {part: value for part, value in result["hashes"].items() if part not in ("head", "backbone")}
    assert plan.foundations == {"scenes-nano": recorded} and plan.content()["foundations"] == plan.foundations
    assert hashed(replace(plan, foundations={})).hash != plan.hash


def test_a_plan_without_foundations_stays_without(tmp_path: Path, foundation: Path) -> None:
    path = write_study(tmp_path, foundation)
    freeze_study(path, tmp_path / "study")
    old = hashed(replace(StudyPlan.read(tmp_path / "study"), foundations={}))
    write_json(tmp_path / "study" / PLAN, old.content())
    assert "foundations" not in old.content()
    assert freeze_study(path, tmp_path / "study") == old, "the file means the same"
    more = {"date": "2026-12-01", "reason": "wide intervals", "seeds": [1]}
    amended = freeze_study(write_study(tmp_path, foundation, amendments=[more]), tmp_path / "study")
    assert amended.seeds == [0, 1] and amended.foundations == {} and amended.extends(old, path)


def test_a_foundation_that_does_not_lie_here_is_left_out(tmp_path: Path) -> None:
    assert fingerprints("nowhere") == {}
    assert expand_study(write_study(tmp_path, "nowhere")).foundations == {}


def test_a_study_does_not_go_on_with_a_rebuilt_foundation(tmp_path: Path, foundation: Path) -> None:
    path = write_study(tmp_path, foundation)
    plan = freeze_study(path, tmp_path / "study")
    open_queue(tmp_path / "study", plan, None)
    rebuild(foundation, "clip")
    assert freeze_study(path, tmp_path / "study") == plan == read_plan(tmp_path / "study")
    with pytest.raises(ValueError, match="is not the one that parts was planned with: clip have other hashes"):
        open_queue(tmp_path / "study", plan, None)
    assert not expand_study(path).extends(plan, path), "results on one are none on the other"


def test_a_run_on_another_foundation_is_not_done(tmp_path: Path, foundation: Path) -> None:
    plan = freeze_study(write_study(tmp_path, foundation), tmp_path / "study")
    [run] = plan.units
    config = {**plan.arms["clip_mse"].config, "seed": 0}
    parts = plan.foundations[str(foundation)]
    record = {"arm": "clip_mse", "seed": 0, "config": config, "hashes": {**parts, "head": "0"}}
    write_json(unit_folder(tmp_path / "study", run) / "result.json", record)
    assert plan.is_done(tmp_path / "study", run)
    write_json(unit_folder(tmp_path / "study", run) / "result.json", record | {"hashes": {**parts, "vae": "0"}})
    assert not plan.is_done(tmp_path / "study", run)
    write_json(unit_folder(tmp_path / "study", run) / "result.json", record | {"arm": "vae_mse"})
    assert not plan.is_done(tmp_path / "study", run)


def test_arms_on_different_foundations_are_compared_only_where_the_study_says_so(
    tmp_path: Path, foundation: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(foundation, other)
    arms = [str(ARM), {"file": str(ARM), "name": "elsewhere", "overrides": [f'foundation="{other}"']}]
    with pytest.raises(ValueError, match="arms differ where the study does not declare it") as refused:
        expand_study(write_study(tmp_path, foundation, arms=arms))
    assert f"foundation: {foundation} in clip_mse; {other} in elsewhere" in str(refused.value)
    plan = expand_study(write_study(tmp_path, foundation, arms=arms, declared_differences=["foundation"]))
    assert set(plan.foundations) == {str(foundation), str(other)}
