"""The study of objectives: its plan, and one of its runs at tiny size."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from unimm.schema import RunConfig
from unimm.study.check import check
from unimm.study.expand import expand_study
from unimm.study.plan import StudyPlan

STUDIES = Path(__file__).parents[2] / "ablations" / "studies"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TINY = {
    "data": {"train_scenes": 48},
    "training": {"samples": 8, "batch_size": 4, "warmup_steps": 1, "snapshots": 1},
    "evaluation": {"prompts_per_task": 1, "combination_prompts": 1, "questions": 8, "reference_scenes": 16},
    "sampling": {"decoder_steps": 1},
}


@cache
def planned(name: str) -> StudyPlan:
    return expand_study(STUDIES / f"{name}.yaml")


def tiny(config: dict[str, Any]) -> RunConfig:
    sizes = {part: config[part] | own for part, own in TINY.items()}
    sizes["evaluation"] |= {"curve_prompts": 1, "metrics": ["geneval", "geneval_long"]}
    # The first edition's parts are shipped; those of the second would be built first.
    return RunConfig.model_validate({**config, **sizes, "foundation": "scenes-nano", "seed": 0})


def test_objectives_meet_on_both_targets_and_two_widths() -> None:
    plan = planned("objectives")
    assert plan.seeds == [0, 1, 2, 3, 4] and len(plan.arms) == 20
    found = {name: (arm.config["encoder"]["name"], arm.config["objective"]["name"]) for name, arm in plan.arms.items()}
    short = {name for name in found if name.endswith("_short")}
    for encoder in ("clip", "vae"):
        asked = {objective for name, (target, objective) in found.items() if target == encoder and name not in short}
        assert asked == {"flow_matching", "x_prediction", "epsilon_prediction", "mean_flow"}
        assert {found[name][1] for name in short if found[name][0] == encoder} == {"flow_matching", "mixture", "mse"}
    shares = {name: arm.config["data"]["long_caption_share"] for name, arm in plan.arms.items()}
    assert shares == {name: 0 if name in short else 1 for name in found}
    assert check(plan) == [], "every claim can get a verdict"
    widths = {name: arm.config["head"]["width"] for name, arm in plan.arms.items()}
    assert {name for name, width in widths.items() if width == 96} == {name for name in found if "narrow" in name}
    assert set(widths.values()) == {96, 192}


def test_shifts_of_all_objectives_of_a_target_are_alike() -> None:
    """The profile's base reaches objectives that derive from flow matching, and MeanFlow's settings are its own."""
    shifts = {
        (arm.config["encoder"]["name"], arm.config["objective"].get("shift_base"))
        for arm in planned("objectives").arms.values()
        if arm.config["objective"]["name"] not in {"mixture", "mse"}
    }
    assert shifts == {("clip", 256), ("vae", 256), ("vae_lift", 256)}


def test_an_arm_of_the_study_of_objectives_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unimm.runs import job

    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    result = job.run(tiny(planned("objectives").arms["clip_mixture_short"].config), tmp_path / "run")
    assert {"atoms/overall", "atoms_long/overall", "atoms@guidance=1/overall"} <= {s.name for s in result.scores}
    assert result.invariants.backbone_unchanged is True and result.efficiency is not None
