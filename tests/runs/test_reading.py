"""What older files hold otherwise is read rightly, and they stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unimm.runs import reading
from unimm.runs.record import RESULT, CountedPass, Items, LatentShape, Result

REPORTS = Path(__file__).parents[2] / "reports"
JOINT = REPORTS / "design_choices/runs/clip_fm_joint/seed0"


def result_of(folder: Path) -> Result:
    return Result.model_validate_json((folder / RESULT).read_text())


def as_read(folder: Path) -> Result:
    return reading.as_read(result_of(folder), reading.read_items(folder))


def values(result: Result) -> dict[str, Any]:
    return {score.name: score.value for score in result.scores}


def test_understanding_above_blind_is_the_score_less_the_blind_one() -> None:
    content, found = json.loads((JOINT / RESULT).read_text()), as_read(JOINT)
    raw = {score["name"]: score["value"] for score in content["scores"]}
    blind = content["floors"]["blind"]
    for kind in ("exists", "count", "colour", "relation"):
        difference = raw[f"understanding/{kind}"] - blind[f"understanding/{kind}"]
        assert values(found)[f"understanding/above_blind/{kind}"] == pytest.approx(difference, abs=1e-12)
    overall = next(score for score in found.scores if score.name == "understanding/above_blind")
    assert overall.value == pytest.approx(raw["understanding/overall"] - blind["understanding/overall"], abs=1e-12)
    assert overall.protocol["mean of"] == [
        f"understanding/above_blind/{kind}" for kind in ("exists", "count", "colour", "relation")
    ]
    assert overall.n == 300 and overall.protocol["less"] == "the same questions answered from the mean image"
    assert found.floors["blind"]["understanding/above_blind"] == 0
    assert found.ceilings["all_right"]["understanding/above_blind"] == 1 - blind["understanding/overall"]
    assert not any("above_blind" in name for name in values(result_of(JOINT))), "the file stays as it was"


def test_what_a_run_took_itself_is_not_derived_again() -> None:
    once = as_read(JOINT)
    assert reading.as_read(once, None) == once


def test_a_run_without_blind_answers_has_nothing_above_them() -> None:
    content = json.loads((JOINT / RESULT).read_text())
    del content["floors"]["blind"]
    found = reading.as_read(Result.model_validate(content), None)
    assert not any("above_blind" in name for name in values(found)) and "all_right" not in found.ceilings


def test_clamped_clip_scores_are_the_means_of_their_items() -> None:
    """All committed scores of exactly 0.0 with items; others stay as they were."""
    clamped = 0
    for path in sorted(REPORTS.rglob(RESULT)):
        folder = path.parent
        raw, found, items = result_of(folder), as_read(folder), reading.read_items(folder)
        read = {score.name: score for score in found.scores}
        for score in raw.scores:
            if "clip_score" not in score.name:
                assert read[score.name] == score
                continue
            assert items is not None
            mean = float(np.mean([value for value in items.scores[score.name] if value is not None]))
            assert read[score.name].value == pytest.approx(mean, abs=1e-3), path
            if score.value == 0:
                clamped += 1
                assert mean < 0 and read[score.name].library_value == 0
            else:
                assert read[score.name].value == score.value and read[score.name].library_value is None
        for tables in (found.floors, found.ceilings):
            assert not any(
                "clip_score" in key and value == 0 for table in tables.values() for key, value in table.items()
            )
    assert clamped == 11


def test_a_clamped_score_without_items_is_not_known() -> None:
    content = json.loads((JOINT / RESULT).read_text())
    next(score for score in content["scores"] if score["name"] == "clip_score/a")["value"] = 0.0
    found = reading.as_read(Result.model_validate(content), Items(prompts=[], scores={}))
    assert values(found)["clip_score/a"] is None


@pytest.mark.parametrize(("arm", "channels"), [("clip_fm", 128), ("vae_fm", 16)])
def test_the_shape_of_latents_is_read_off_the_foundation_that_the_hash_names(arm: str, channels: int) -> None:
    folder = REPORTS / f"design_choices/runs/{arm}/seed0"
    assert as_read(folder).latent_shape == LatentShape(tokens=16, channels=channels)
    content = json.loads((folder / RESULT).read_text())
    content["hashes"] = dict.fromkeys(content["hashes"], "another")
    assert reading.as_read(Result.model_validate(content), None).latent_shape is None


def test_flops_of_a_few_steps_are_pooled_over_the_runs_of_an_arm() -> None:
    runs = [result_of(REPORTS / f"design_choices/runs/clip_fm/seed{seed}") for seed in range(3)]
    each = [run.efficiency.train_flops_per_sample for run in runs if run.efficiency]
    found = [run.efficiency for run in reading.pooled(runs)]
    assert [spent.train_flops_per_sample for spent in found if spent] == [pytest.approx(np.mean(each))] * 3
    assert max(each) / min(each) > 1.1, "one configuration, by the luck of eight steps"
    counted = [_counted(run, 4e8 + number) for number, run in enumerate(runs)]
    assert reading.pooled(counted) == counted, "runs that counted all their passes differ by their own counts"
    shorter = [runs[0], runs[1].model_copy(update={"counts": runs[1].counts.model_copy(update={"steps": 7})})]
    assert reading.pooled(shorter) == shorter


def _counted(run: Result, flops: float) -> Result:
    assert run.efficiency is not None
    made = CountedPass(kind="generation: short", samples=64_000, length=17, answer=0, flops=flops)
    update = {"train_flops_per_sample": flops, "passes": [made]}
    return run.model_copy(update={"efficiency": run.efficiency.model_copy(update=update)})
