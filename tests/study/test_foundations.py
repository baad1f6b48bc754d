"""A plan names its foundations by the hashes of their parts: those that runs record, and that a rebuilt one lacks.

And several foundations are dealt to seeds in turn.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unimm.files import write_json
from unimm.foundation.card import SHIPPED, fingerprints
from unimm.runs.planned import PlannedArm
from unimm.runs.record import PLAN
from unimm.strict_yaml import read_yaml
from unimm.study import foundations as foundations_module
from unimm.study.check import few_seeds
from unimm.study.expand import expand_study
from unimm.study.launch import freeze_study
from unimm.study.layout import config_file, unit_folder
from unimm.study.plan import StudyPlan, hashed, read_plan
from unimm.study.schema import read_study, read_tuning
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


@pytest.fixture
def other(foundation: Path, tmp_path: Path) -> Path:
    """Another draw: parts that are trained differ, and those that judge are the same."""
    folder = tmp_path / "other"
    shutil.copytree(foundation, folder)
    for part in ("clip", "vae", "decoder", "language", "understanding"):
        rebuild(folder, part)
    return folder


def deal(folder: Path, *foundations: Path | str, **changes: Any) -> Path:
    return write_study(folder, "", **{"overrides": [], "foundations": list(map(str, foundations)), **changes})


def test_seeds_take_foundations_in_turn_in_every_arm(tmp_path: Path, foundation: Path, other: Path) -> None:
    more = {"date": "2026-12-01", "reason": "wide intervals", "seeds": [3, 11]}
    arms = [str(ARM), {"file": str(ARM), "name": "again"}]
    before = freeze_study(deal(tmp_path, foundation, other, seeds=[7, 5], arms=arms), tmp_path / "study")
    assert before.foundations == {str(name): fingerprints(str(name)) for name in (foundation, other)}
    changed = deal(tmp_path, other, foundation, seeds=[7, 5], arms=arms)
    with pytest.raises(ValueError, match=r"foundations: \['.*foundation', '.*other'\] in the folder"):
        freeze_study(changed, tmp_path / "study")
    path = deal(tmp_path, foundation, other, seeds=[7, 5], arms=arms, amendments=[more])
    plan = freeze_study(path, tmp_path / "study")
    assert plan == read_plan(tmp_path / "study") and plan.extends(before, path)
    for run in plan.units:
        on = {7: foundation, 5: other, 3: foundation, 11: other}[run.number]
        assert plan.foundation_of(run) == read_yaml(config_file(tmp_path / "study", run))["foundation"] == str(on)
    assert few_seeds(plan, 4) == "4 seeds an arm on 2 foundations: descriptive, without verdicts, which take 3 " + (
        "(facts are still checked)"
    )
    assert plan.independent(4) == 2 and plan.independent(1) == 1


def test_a_run_counts_on_the_foundation_of_its_seed_alone(tmp_path: Path, foundation: Path, other: Path) -> None:
    plan = freeze_study(deal(tmp_path, foundation, other, seeds=2), tmp_path / "study")
    run = plan.units[1]
    for on, counts in ((other, True), (foundation, False)):
        config = {**plan.arms["clip_mse"].config, "seed": 1, "foundation": str(on)}
        record = {"arm": "clip_mse", "seed": 1, "config": config, "hashes": fingerprints(str(on))}
        write_json(unit_folder(tmp_path / "study", run) / "result.json", record)
        assert plan.is_done(tmp_path / "study", run) is counts
    rebuild(other, "features")
    with pytest.raises(ValueError, match="other' is not the one that parts was planned with: features have"):
        open_queue(tmp_path / "study", plan, None)


def test_one_foundation_is_as_if_every_arm_had_named_it(tmp_path: Path, foundation: Path) -> None:
    plan, named = (expand_study(make(tmp_path, foundation)) for make in (deal, write_study))
    assert plan.arms == named.arms and plan.dealt == [] and plan.foundations == named.foundations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "seeds gives 1 to 2 foundations, of which every one takes as many.*add 1"),
        ({"seeds": 3}, "seeds gives 3 to 2 foundations"),
        ({"overrides": ["+foundation=a"]}, r"drop \+foundation=a from overrides"),
        ({"arms": [{"file": str(ARM), "overrides": ["foundation=a"]}]}, "drop foundation=a from the overrides of"),
        ({"arms": {"start": str(ARM), "grid": {"foundation": ["a", "b"]}}}, "drop foundation from the grid"),
        ({"declared_differences": ["foundation"]}, "drop foundation from declared_differences"),
        ({"foundations": ["a", "a"]}, "one is given twice, and would count as two draws"),
        ({"amendments": [{"date": "2026-12-01", "reason": "r", "seeds": [9]}]}, "an amendment gives 1 to 2"),
    ],
)
def test_nothing_else_chooses_a_foundation_and_all_weigh_alike(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_study(deal(tmp_path, "a", "b", **{"seeds": 2, **changes}))


def test_a_tuning_stands_on_one_foundation(tmp_path: Path) -> None:
    write_json(tmp_path / "tuning.yaml", {"question": "Which?", "foundations": ["a", "b"], "trials": 8})
    with pytest.raises(ValueError, match=r"stands on one foundation; write foundation=NAME in overrides"):
        read_tuning(tmp_path / "tuning.yaml")


def test_only_draws_of_one_kind_are_dealt(tmp_path: Path, foundation: Path, other: Path) -> None:
    plan = expand_study(deal(tmp_path, foundation, seeds=2))
    assert set(dealt_arms(tmp_path, plan.arms, [foundation, other, tmp_path / "nowhere"])) == {"clip_mse"}
    shutil.copytree(foundation, tmp_path / "copy")
    with pytest.raises(ValueError, match="have the same parts and are one draw"):
        dealt_arms(tmp_path, plan.arms, [foundation, tmp_path / "copy"])
    rebuild(tmp_path / "copy", "evaluator_1")
    with pytest.raises(ValueError, match=r"evaluator_1 of .* are not the same models"):
        dealt_arms(tmp_path, plan.arms, [foundation, tmp_path / "copy"])
    card = json.loads((other / "card.json").read_text())
    write_json(other / "card.json", card | {"questions": "by_answer"})
    with pytest.raises(ValueError, match=r"questions is by_scene in .* and by_answer in .*other: no draws of one kind"):
        dealt_arms(tmp_path, plan.arms, [foundation, other])
    write_json(tmp_path / "own.yaml", {**read_yaml(ARM), "foundation": "mine"})
    own = {"own": PlannedArm("own.yaml", "", {"foundation": "mine"})}
    with pytest.raises(ValueError, match=r"drop foundation from own\.yaml"):
        dealt_arms(tmp_path, own, [foundation, other])


def dealt_arms(folder: Path, arms: dict[str, PlannedArm], foundations: list[Path]) -> dict[str, PlannedArm]:
    return foundations_module.deal(folder / "parts.yaml", arms, list(map(str, foundations)))
