"""From study files to frozen plans: expansion, hashes, undeclared differences, amendments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from unimm.runs.planned import config_hash, plan_hash
from unimm.study.expand import expand_study
from unimm.study.launch import freeze_study, write_plan
from unimm.study.layout import PlannedRun, config_file
from unimm.study.plan import read_plan

ABLATIONS = Path(__file__).parents[2] / "ablations"
CLAIM = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["clip_mse"]}}


def write_study(folder: Path, **changes: Any) -> Path:
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [CLAIM]}))
    content = {
        "question": "Which features?",
        "profile": "tiny",
        "seeds": 2,
        "arms": [str(ABLATIONS / "clip_mse.yaml"), str(ABLATIONS / "vae_mse.yaml")],
        "declared_differences": ["encoder"],
        "claims": "claims.yaml",
        **changes,
    }
    path = folder / "features.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_list_of_arms_becomes_resolved_configurations(tmp_path: Path) -> None:
    plan = expand_study(write_study(tmp_path, overrides=["training.samples=128"]))
    assert (plan.name, plan.seeds, list(plan.arms)) == ("features", [0, 1], ["clip_mse", "vae_mse"])
    assert [str(run) for run in plan.units] == ["clip_mse/seed0", "vae_mse/seed0", "clip_mse/seed1", "vae_mse/seed1"]
    arm = plan.arms["vae_mse"]
    assert arm.config["profile"] == "tiny" and arm.config["training"]["samples"] == 128
    assert "seed" not in arm.config
    assert arm.hash == config_hash({**arm.config, "seed": 7})
    assert plan.claims["claims"][0]["id"] == "c"


def test_a_grid_names_its_arms_by_labels_and_declares_its_factors(tmp_path: Path) -> None:
    grid = {
        "encoder": {"clip": "clip", "vae": "vae"},
        "objective": ["mse"],
        "strategy": {"": "sequential", "j": "joint"},
    }
    arms = {"start": str(ABLATIONS / "clip_fm.yaml"), "grid": grid}
    plan = expand_study(write_study(tmp_path, arms=arms, declared_differences=[]))
    assert list(plan.arms) == ["clip_mse", "clip_mse_j", "vae_mse", "vae_mse_j"]
    assert plan.arms["vae_mse_j"].config["strategy"]["name"] == "joint"
    assert plan.declared_differences == ["encoder", "objective", "strategy"]
    assert {arm.config["question"] for arm in plan.arms.values()} == {"Which features?"}


@pytest.mark.parametrize(
    ("changes", "fragments"),
    [
        ({"declared_differences": []}, ["encoder.name: clip in clip_mse; vae in vae_mse"]),
        ({"declared_differences": ["encodr"]}, ["no arm has a setting 'encodr'", "did you mean 'encoder'?"]),
        ({"overrides": ["seed=3"]}, ["seed=3: the study decides this; set seeds instead"]),
        ({"overrides": ["trainin.samples=3"]}, ["clip_mse.yaml: trainin"]),
        ({"seeds": [1, 1]}, ["seed 1 is given twice"]),
        ({"seed": 1}, ["seed: nothing reads this key; did you mean 'seeds'?"]),
        ({"arms": [str(ABLATIONS / "clip_mse.yaml")] * 2}, ["two arms are called 'clip_mse'"]),
        ({"arms": [{"fil": "x"}]}, ["arms.0.fil: nothing reads this key; did you mean 'file'?"]),
        ({"arms": [str(ABLATIONS / "vae_mse.yaml")]}, ["no 'clip_mse' in arms; did you mean 'vae_mse'?"]),
        ({"amendments": [{"date": "2026-12-01", "reason": "more"}]}, ["adds nothing"]),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        expand_study(write_study(tmp_path, **changes))
    assert all(fragment in str(caught.value) for fragment in fragments), caught.value


def test_the_shipped_studies_plan(tmp_path: Path) -> None:
    plan = expand_study(ABLATIONS / "studies" / "design_choices.yaml")
    assert len(plan.arms) == 8 and plan.seeds == [0, 1, 2] and plan.profile == "nano"
    published = expand_study(ABLATIONS / "studies" / "as_published.yaml")
    assert list(published.arms) == ["vae_fm", "clip_mse", "clip_fm"]
    assert {arm.config["settings"] for arm in published.arms.values()} == {"published"}
    assert published.arms["clip_mse"].config["head"]["name"] == "linear"


def test_a_frozen_plan_stays(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = freeze_study(write_study(tmp_path), folder)
    assert freeze_study(write_study(tmp_path), folder) == read_plan(folder) == plan
    assert set(json.loads((folder / "plan.json").read_text())) == set(plan.content())
    with pytest.raises(ValueError, match=r"arms.vae_mse.config.training.samples: 64 in the folder, 128 in the file"):
        freeze_study(write_study(tmp_path, overrides=["training.samples=128"]), folder)
    with pytest.raises(ValueError, match=r"seeds: \[0, 1\] in the folder, \[0, 1, 2\] in the file"):
        freeze_study(write_study(tmp_path, seeds=3), folder)
    assert read_plan(folder) == plan


def test_amendments_are_dated_and_may_only_add(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    first = freeze_study(write_study(tmp_path), folder)
    more = {"date": "2026-12-01", "reason": "wide intervals", "seeds": [2]}
    arm = {"file": str(ABLATIONS / "clip_mse.yaml"), "name": "clip_again"}
    another = {"date": "2026-12-02", "reason": "a control", "arms": [arm]}
    second = freeze_study(write_study(tmp_path, amendments=[more]), folder)
    third = freeze_study(write_study(tmp_path, amendments=[more, another]), folder)
    assert [entry["change"] for entry in third.amendments] == ["added seed 2", "added arm clip_again"]
    assert third.amendments[0] == {"date": "2026-12-01", "reason": "wide intervals", "change": "added seed 2"}
    assert third.created == first.created and third.extends(second, folder) and second.extends(first, folder)
    assert not first.extends(second, folder)
    assert len(third.units) == 9 and config_file(folder, PlannedRun("clip_again", 2)).is_file()
    with pytest.raises(ValueError, match="amendments"):
        freeze_study(write_study(tmp_path, amendments=[more | {"reason": "curiosity"}, another]), folder)
    with pytest.raises(ValueError, match="amendments"):
        freeze_study(write_study(tmp_path), folder)


def test_an_edited_or_foreign_plan_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    plan = freeze_study(write_study(tmp_path), folder)
    content = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(content | {"seeds": [0, 1, 2]}))
    with pytest.raises(ValueError, match="was edited"):
        read_plan(folder)
    plan.arms["vae_mse"].config["sampling"]["decoder_steps"] = "2"
    with pytest.raises(ValueError, match=r"arm vae_mse: this unimm reads sampling.decoder_steps otherwise"):
        write_plan(plan, folder)


def test_a_setting_that_a_later_unimm_adds_changes_no_plan(tmp_path: Path, as_stored_before: Any) -> None:
    folder = tmp_path / "study"
    freeze_study(write_study(tmp_path), folder)
    as_stored_before(folder, "training", "weight_decay")
    old = read_plan(folder)
    assert freeze_study(write_study(tmp_path), folder) == old
    write_plan(old, tmp_path / "there")
    assert read_plan(tmp_path / "there") == old
    assert yaml.safe_load(config_file(tmp_path / "there", PlannedRun("vae_mse", 1)).read_text())["training"][
        "weight_decay"
    ]
    more = {"date": "2026-12-01", "reason": "wide intervals", "seeds": [2]}
    amended = freeze_study(write_study(tmp_path, amendments=[more]), folder)
    assert amended.arms == old.arms and amended.seeds == [0, 1, 2]
    assert read_plan(folder).extends(old, folder)
    assert expand_study(write_study(tmp_path, amendments=[more])).extends(old, folder)
    changed = write_study(tmp_path, overrides=["training.weight_decay=0.1"])
    with pytest.raises(ValueError, match=r"training.weight_decay: 0.01 in the folder, 0.1 in the file"):
        freeze_study(changed, tmp_path / "there")
    assert not expand_study(changed).extends(old, folder)


def test_a_planned_setting_that_nothing_reads_any_more_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    freeze_study(write_study(tmp_path), folder)
    content = json.loads((folder / "plan.json").read_text())
    content["arms"]["vae_mse"]["config"]["training"]["momentum"] = 0.9
    (folder / "plan.json").write_text(json.dumps(content | {"hash": plan_hash(content)}))
    expected = r"plan.json, arm vae_mse: training.momentum: training reads no 'momentum'"
    with pytest.raises(ValueError, match=expected):
        freeze_study(write_study(tmp_path), folder)
    with pytest.raises(ValueError, match=expected):
        write_plan(read_plan(folder), tmp_path / "there")
