"""The studies of training data: their plans, and each arm trained for two steps at tiny size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unimm.schema import RunConfig
from unimm.study.expand import expand_study
from unimm.study.plan import StudyPlan

REPEAT = pytest.mark.repeat  # an arm that differs from another in one number or source
STUDIES = Path(__file__).parents[2] / "ablations" / "studies"


def planned(name: str) -> StudyPlan:
    return expand_study(STUDIES / f"{name}.yaml")


def tiny(config: dict[str, Any], warmup_steps: int = 1) -> RunConfig:
    """The arm's own configuration, as small as it goes."""
    sizes: dict[str, dict[str, Any]] = {
        "data": {"train_scenes": 48},
        "training": {"samples": 8, "batch_size": 4, "warmup_steps": warmup_steps, "snapshots": 0},
        "evaluation": {
            "prompts_per_task": 1,
            "combination_prompts": 1,
            "diversity_prompts": 1,
            "questions": 8,
            "reference_scenes": 16,
        },
        "sampling": {"decoder_steps": 1},
        "objective": {"steps": 1},
        "head": {"width": 16, "layers": 1, "heads": 2},
    }
    # Distances take their features from a thousand reference scenes, and have tests of their own.
    sizes["evaluation"]["metrics"] = [m for m in config["evaluation"]["metrics"] if m != "distance"]
    return RunConfig.model_validate({**config, "seed": 0} | {part: config[part] | own for part, own in sizes.items()})


def test_caption_mixes_differ_in_the_share_alone() -> None:
    plan = planned("caption_mix")
    shares = {name: arm.config["data"]["long_caption_share"] for name, arm in plan.arms.items()}
    assert shares == {"long_only": 1.0, "tenth_short": 0.9, "half_short": 0.5}
    assert plan.declared_differences == ["data.long_caption_share"] and plan.seeds == [0, 1, 2]
    assert all("geneval_long" in arm.config["evaluation"]["metrics"] for arm in plan.arms.values())
    assert {claim["metric"] for claim in plan.claims["claims"]} >= {"atoms/overall", "atoms_long/overall"}


def test_instruction_arms_differ_in_the_second_stages_pixels_alone() -> None:
    plan = planned("instruction_data")
    clean, photo = (plan.arms[name].config["stages"] for name in ("instruct_clean", "instruct_photo"))
    assert clean["pretrain"] == photo["pretrain"] and list(clean) == list(photo) == ["pretrain", "instruct"]
    assert (clean["instruct"]["source"]["name"], photo["instruct"]["source"]["name"]) == ("scenes", "degraded_scenes")
    assert {**clean["instruct"], "source": None} == {**photo["instruct"], "source": None}
    parts = clean["pretrain"]["source"]["parts"]
    assert [part["weight"] for part in parts] == [1.0, 1.0]
    assert [part["source"] for part in parts] == [clean["instruct"]["source"], photo["instruct"]["source"]]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arm", [pytest.param("instruct_clean", marks=REPEAT), "instruct_photo"])
def test_every_instruction_arm_trains_in_two_stages(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unimm.runs import stages

    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    planned_stages = planned("instruction_data").arms[arm].config["stages"]
    config = planned("instruction_data").arms[arm].config | {
        "stages": {name: {**stage, "samples": 4} for name, stage in planned_stages.items()}
    }
    result = stages.run(tiny(config, warmup_steps=0), tmp_path / "run")
    kinds = [(stage.name, stage.source) for stage in result.stages]
    assert kinds == [("pretrain", "mixture"), ("instruct", planned_stages["instruct"]["source"]["name"])]
    assert {"geneval/overall", "atoms/overall"} <= {score.name for score in result.scores}
    assert result.invariants.backbone_unchanged is True


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arm", ["long_only", pytest.param("tenth_short", marks=REPEAT), "half_short"])
def test_every_caption_mix_trains_and_is_scored_on_both_wordings(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unimm.runs import job

    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    result = job.run(tiny(planned("caption_mix").arms[arm].config), tmp_path / "run")
    names = {score.name for score in result.scores}
    overall = {f"{kind}/overall" for kind in ("geneval", "atoms", "geneval_long", "atoms_long")}
    of_images = (result.ceilings[name] for name in ("real", "decoder"))  # `all_right` is a ceiling of answers
    for reference in (result.floors["shuffled_prompts"], *of_images):
        assert overall <= names & set(reference)
    assert result.ceilings["real"]["geneval_long/overall"] == 1.0
    kinds = result.data.captions
    assert arm != "long_only" or set(kinds) == {"long"}
