"""The flip map's arms: cells that differ in one circumstance alone, and claims that can be decided."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from unimm.analysis.claims import Claims
from unimm.config import flatten
from unimm.study.check import check
from unimm.study.expand import expand_study, ways_to_sample
from unimm.study.plan import StudyPlan

pytestmark = pytest.mark.slow
STUDIES = Path(__file__).parents[2] / "ablations" / "studies"


@lru_cache
def plan(name: str = "flip_map") -> StudyPlan:
    return expand_study(STUDIES / f"{name}.yaml")


def differences(a: str, b: str) -> set[str]:
    """Settings in which two arms differ, apart from their names and from what follows from their objectives."""
    one, other = (flatten(plan().arms[arm].config) for arm in (a, b))
    changed = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    return {key for key in changed if key not in ("name", "question") and not key.startswith("objective.")}


@pytest.mark.parametrize("name", ["flip_map", "flip_map_smollm2"])
def test_every_claim_can_get_a_verdict(name: str) -> None:
    assert check(plan(name)) == []


def test_the_most_decisive_arms_come_first_in_every_seed() -> None:
    first = [unit.arm for unit in plan().units][:4]
    assert first == ["clip_fm_long", "clip_mse_long", "vae_fm_long", "vae_mse_long"]
    assert len(plan().arms) == 29 and plan().seeds == [0, 1, 2, 3, 4]


def test_wordings_of_training_and_test_are_the_same() -> None:
    def shares(arm: str) -> tuple[float, float]:
        data = plan().arms[arm].config["data"]
        return data["long_caption_share"], data.get("placed_caption_share", 0.0)

    assert [shares(f"clip_fm_{kind}") for kind in ("short", "placed", "long")] == [(0, 0), (0, 1), (1, 0)]
    for claim in Claims.model_validate(plan().claims).claims:
        wanted: dict[str, Any] = {"atoms": (0, 0), "atoms_place": (0, 1), "atoms_long": (1, 0), "geneval_long": (1, 0)}
        kind = str(getattr(claim, "metric", "")).partition("/")[0].partition("@")[0]
        if kind in wanted:
            assert {shares(arm) for arm in getattr(claim, "contrast", {})} == {wanted[kind]}, claim.id


def test_cells_differ_in_their_circumstance_alone() -> None:
    assert differences("clip_fm_long", "clip_mse_long") == set()
    assert {key.partition(".")[0] for key in differences("clip_fm_long", "vae_fm_long")} == {"encoder"}
    assert differences("clip_fm_random", "vae_fm_random") == differences("clip_fm_long", "vae_fm_long")
    assert {key for key in differences("clip_fm_random", "clip_fm_long") if "also" not in key} == {
        "backbone.weights", "evaluation.metrics",
    }  # fmt: skip
    for arm, shift in (("clip_fm_vaes_shift", 1.0), ("vae_fm_clips_shift", 2.8)):
        assert plan().arms[arm].config["objective"]["shift"] == shift
    joint = (plan().arms[f"clip_fm_from_{start}"].config["strategy"] for start in ("language", "understanding"))
    starts = [strategy["start"] for strategy in joint]
    assert starts == ["language", "understanding"]


def test_claims_at_other_guidance_are_of_arms_that_are_sampled_so() -> None:
    ways = ways_to_sample(plan().arms["vae_fm_long"].config)
    assert ways == [*(f"guidance={g}" for g in ("1", "1.5", "2", "3", "5", "8")), "decoder=noised", "guidance=chosen"]
    named = {str(claim.get("metric")) for claim in plan().claims["claims"]}
    assert {f"atoms_long@{way}/overall" for way in ways} <= named
