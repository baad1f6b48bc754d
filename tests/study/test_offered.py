"""A tuning that offers what cannot differ is refused when it is planned, with one line; a frozen one goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from unimm.study.expand import expand_tuning
from unimm.study.launch import Places, plan_tuning
from unimm.study.offered import refuse_equal_options

ROOT = Path(__file__).parents[2]
RATE = {"training.learning_rate": {"low": 3e-4, "high": 3e-3, "log": True}}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (RATE, {"training.ema_decay": [0.99, 0.995, 0.999]}, "0.99 and 0.995 and 0.999 are one and the same average"),
    (RATE, {"training.ema_decay": [0.9, 0.99]}, "0.99 and the arm's own 0.999 are one and the same average"),
    (RATE, {"training.ema_length": [0.05, 0.05]}, "0.05 and 0.05 are the same setting"),
    (RATE, {"objective.guidance": [1.5, 3, 3.0]}, "3 and 3.0 are the same setting"),
    (RATE, {"objective.guidance": [3]}, "offers nothing but what every arm has"),
    (RATE, {"objective.guidance": []}, "offers nothing but what every arm has"),
    ({"training.ema_decay": {"low": 0.9, "high": 0.999}}, {}, "0.999, the upper end and what is just below it"),
    ({"evaluation.questions": {"choices": [100, 200]}}, {}, "no score of a trial depends on it"),
    ({"training.gradient_accumulation_steps": {"choices": [1, 2]}}, {}, "no score of a trial depends on it"),
    ({"training.compile": {"choices": [True, 1]}}, {}, "True and 1 are the same setting"),
]
PLANNED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (RATE, {"training.ema_decay": [0.9, 0.97]}),
    (RATE, {"training.ema_decay": [0.97, 0.999]}),
    (RATE, {"training.ema_length": [0.05, 0.1, 0.2]}),
    (RATE, {"objective.guidance": [1, 3]}),
    ({"training.ema_decay": {"low": 0.9, "high": 0.98}}, {}),
    ({"training.ema_length": {"low": 0.02, "high": 0.5, "log": True}}, {}),
]


def tuning(folder: Path, space: dict[str, Any], by_sampling: dict[str, Any], **changes: Any) -> Path:
    """A tuning of 500 steps a trial, as the shipped one."""
    content = yaml.safe_load((ROOT / "ablations/studies/tuning.yaml").read_text())
    arms = [str(ROOT / "ablations" / f"{name}.yaml") for name in ("clip_fm", "clip_mse")]
    content |= {"arms": arms, "declared_differences": ["objective"], "space": space, "by_sampling": by_sampling}
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.mark.parametrize(("space", "by_sampling", "why"), REFUSED)
def test_what_cannot_differ_is_refused(tmp_path: Path, space: dict, by_sampling: dict, why: str) -> None:
    path = tuning(tmp_path, space, by_sampling)
    with pytest.raises(ValueError, match=r"search\.yaml: ") as caught:
        plan_tuning(path, Places(tmp_path / "runs", tmp_path / "reports"))
    assert why in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("space", "by_sampling"), PLANNED)
def test_what_can_differ_is_planned(tmp_path: Path, space: dict, by_sampling: dict) -> None:
    path = tuning(tmp_path, space, by_sampling)
    plan = plan_tuning(path, Places(tmp_path / "runs", tmp_path / "reports"))
    assert plan.by_sampling == {key: list(values) for key, values in by_sampling.items()}


def test_temperature_is_chosen_by_sampling_for_the_arms_that_have_one(tmp_path: Path) -> None:
    """It needs no training, and an arm without likelihood skips it."""
    files = [str(ROOT / "ablations" / f"{name}.yaml") for name in ("clip_fm", "clip_mse")]
    arms = [files[0], {"file": files[1], "name": "clip_mixture", "overrides": ["objective=mixture"]}]
    plan = expand_tuning(tuning(tmp_path, RATE, {"objective.temperature": [0, 0.5, 1]}, arms=arms))
    assert plan.by_sampling_of("clip_mixture") == {"objective.temperature": [0, 0.5, 1]}
    assert plan.by_sampling_of("clip_fm") == {}


def test_a_longer_trial_may_offer_longer_decays(tmp_path: Path) -> None:
    path = tuning(tmp_path, RATE, {"training.ema_decay": [0.99, 0.999]}, samples=64_000)
    refuse_equal_options(path, expand_tuning(path))


def test_an_arm_with_a_length_of_its_own_can_be_offered_decays(tmp_path: Path) -> None:
    own = ["training.ema_decay=null", "training.ema_length=0.2"]
    path = tuning(tmp_path, RATE, {"training.ema_decay": [0.9, 0.97]}, overrides=own)
    plan = expand_tuning(path)
    refuse_equal_options(path, plan)
    training = plan.config("clip_fm", {"training.ema_decay": 0.9})["training"]
    assert (training["ema_decay"], training["ema_length"]) == (0.9, None)


def test_the_committed_tuning_stays_although_a_new_one_would_be_refused(tmp_path: Path) -> None:
    path = ROOT / "ablations/studies/tuning.yaml"
    with pytest.raises(ValueError, match="one and the same average"):
        plan_tuning(path, Places(tmp_path / "new", tmp_path / "nothing"))
    reports = Path(shutil.copytree(ROOT / "reports/tuning", tmp_path / "tuning"))
    plan = plan_tuning(path, Places(tmp_path / "runs", reports))
    assert plan.hash == "2cf04f9bb6a46bf3" and all(plan.is_done(reports, unit) for unit in plan.units)
    assert (tmp_path / "runs/plan.json").read_bytes() == (reports / "plan.json").read_bytes()
    recipes = ROOT / "ablations/studies/recipes.yaml"
    refuse_equal_options(recipes, expand_tuning(recipes))
