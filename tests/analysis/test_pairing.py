"""Claims that compare arms seed by seed: chosen beforehand, or because arms go on from one first stage."""

from __future__ import annotations

from itertools import product
from math import inf, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from unimm.analysis.claims import Claims
from unimm.analysis.reach import CostBounds, PairedSpeedup, SeenRatio, Speedup, cost_ratio, signed_rank_cdf
from unimm.analysis.results import Curve, StudyResults
from unimm.analysis.verdicts import Outcome, Verdict, decide

SHARED, PLANNED = "paired by seed: the arms share their first stage", "paired by seed, as planned"
KINDS: dict[str, dict[str, Any]] = {
    "difference": {"contrast": {"a": 1, "b": -1}, "smallest_effect": 0.1},
    "non-inferiority": {"contrast": {"a": 1, "b": -1}, "smallest_effect": 0.1},
    "best-cell": {"best": "a", "others": ["b", "c"], "smallest_effect": 0.1},
    "reach": {"target": 0.5, "faster": "a", "slower": "b", "smallest_ratio": 1.2},
}
SEEDS = np.array([0.0, 1.0, 3.0])
SCORES = {"a": SEEDS + 0.2, "b": SEEDS + np.array([0, 0.01, -0.01]), "c": SEEDS - np.array([1, 1.1, 0.9])}


def claim(kind: str, **more: Any) -> dict[str, Any]:
    measured = {"role": "primary", "metric": "m", "direction": "higher", "budget": "flops"}
    return {"id": "it", "text": "So it is.", "kind": kind} | measured | KINDS[kind] | more


def decided(entry: dict[str, Any], scores: dict[str, np.ndarray] = SCORES, **more: Any) -> Verdict:
    study = StudyResults("a test", scores={"flops": {"m": scores}}, **more)
    [verdict] = decide(Claims.model_validate({"alpha": 0.05, "claims": [entry]}), study)
    return verdict


def test_a_claim_is_paired_by_choice() -> None:
    welch, paired = decided(claim("difference")), decided(claim("difference", paired=True))
    assert (welch.outcome, welch.note) == (Outcome.INCONCLUSIVE, "")
    expected = stats.ttest_rel(SCORES["a"], SCORES["b"]).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high))
    assert (paired.outcome, paired.note) == (Outcome.SUPPORTED, PLANNED)


@pytest.mark.parametrize("kind", ["difference", "non-inferiority", "best-cell"])
def test_arms_that_share_their_first_stage_are_paired_without_choice(kind: str) -> None:
    forced = decided(claim(kind), first_stage={"a": "a", "b": "a", "c": "c"})
    chosen = decided(claim(kind, paired=True))
    assert forced.note.endswith(SHARED) and chosen.note.endswith(PLANNED)
    assert (forced.low, forced.high) == (chosen.low, chosen.high) != (decided(claim(kind)).low, None)
    apart = decided(claim(kind), first_stage={"a": "a", "b": "b", "c": "b"})
    assert apart == decided(claim(kind)), "rivals that share a stage with each other are not compared with each other"


def test_a_lead_names_its_rival_and_its_pairs() -> None:
    assert decided(claim("best-cell", paired=True)).note == f"strongest rival: b; {PLANNED}"


def test_more_than_two_arms_are_paired_in_any_case() -> None:
    contrast = {"a": 1, "b": -0.5, "c": -0.5}
    plain, chosen = (decided(claim("difference", contrast=contrast, paired=paired)) for paired in (False, True))
    assert (plain.low, plain.high) == (chosen.low, chosen.high) and plain.note == ""


def test_a_weight_of_zero_is_no_third_arm() -> None:
    entry = claim("difference", contrast={"a": 1, "b": -1, "c": 0})
    assert decided(entry, first_stage={"a": "a", "b": "a"}).note == SHARED


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("difference", {"paired": True}),
        ("best-cell", {"paired": True}),
        ("difference", {"contrast": {"a": 1, "b": -0.5, "c": -0.5}}),
    ],
)
def test_arms_of_different_seeds_are_not_paired_by_dropping_some(kind: str, more: dict[str, Any]) -> None:
    verdict = decided(claim(kind, **more), {**SCORES, "b": np.array([0.0, 1.0, 3.0, 2.0])})
    assert verdict.outcome == Outcome.UNTESTABLE
    assert "compared seed by seed and have different seeds: a has 3, b has 4" in verdict.note


def test_unpaired_is_left_out_of_what_a_plan_hashes(tmp_path: Path) -> None:
    """Plans keep the claims file as it is, so that one without the key stays one without it."""
    from unimm.runs.planned import PlannedArm
    from unimm.study.expand import _claims

    config = {"evaluation": {"metrics": ["geneval"]}}
    arms = {name: PlannedArm("", "", config) for name in "ab"}
    for entry in (claim("difference"), claim("difference", paired=True)):
        path, named = tmp_path / "claims.yaml", entry | {"metric": "geneval/overall"}
        path.write_text(yaml.safe_dump({"alpha": 0.05, "claims": [named]}))
        assert _claims(path, arms, []) == {"alpha": 0.05, "claims": [named]}


def curve(delays: list[float]) -> Curve:
    costs = np.tile(np.geomspace(1, 1000, 10), (len(delays), 1))
    return Curve({"flops": costs}, 0.5 + 0.2 * (np.log10(costs) - 1 - np.log10(delays)[:, None]))


def test_reach_is_paired_in_log_costs() -> None:
    """Seeds that differ ninefold in both arms, and a ratio of 2 in every one."""
    curves = {"a": curve([1.0, 3.0, 9.0]), "b": curve([2.0, 6.1, 18.0])}
    study = StudyResults("a test", curves={"m": curves}, first_stage={"a": "a", "b": "a"})
    [verdict] = decide(Claims.model_validate({"alpha": 0.05, "claims": [claim("reach")]}), study)
    assert verdict.note == f"target reached by every run; {SHARED}"
    assert verdict.outcome == Outcome.SUPPORTED and verdict.estimate == pytest.approx(2, rel=0.02)
    assert 1.9 < verdict.low < 2 < verdict.high < 2.2


@pytest.mark.parametrize("n", [1, 3, 6, 9])
def test_the_signed_rank_distribution_is_that_of_scipy(n: int) -> None:
    for w in range(n * (n + 1) // 2 + 1):
        signs = next(s for s in product((0, 1), repeat=n) if np.dot(s, np.arange(1, n + 1)) == w)
        values = np.where(signs, 1, -1) * np.arange(1, n + 1)
        found = stats.wilcoxon(values, alternative="less", method="exact")
        assert signed_rank_cdf(n)[w] == pytest.approx(found.pvalue)


def seen(costs: list[float]) -> list[CostBounds]:
    return [CostBounds(cost, cost) for cost in costs]


def test_paired_ranks_decide_where_a_run_is_censored() -> None:
    fast = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    ratio = cost_ratio(seen(fast), [*seen([2 * cost for cost in fast[:-1]]), CostBounds(60.0, inf)], paired=True)
    low, high = ratio.interval(0.05)
    assert isinstance(ratio, PairedSpeedup) and low == pytest.approx(log(60 / 32)) and high == inf
    assert ratio.p_value() == pytest.approx(2 / 64)
    unpaired = Speedup(ratio.faster, ratio.slower)
    assert unpaired.interval(0.05)[0] < 0, "seeds that differ 32-fold hide a ratio of 2 from arms that are not paired"
    assert ratio.seeds_needed(0.05, lambda estimate: 0.1) is None
    few = PairedSpeedup(ratio.faster[3:], ratio.slower[3:])
    assert few.interval(0.05) == (-inf, inf) and few.seeds_needed(0.05, lambda estimate: 0.1) == 6
    with pytest.raises(ValueError, match="6 and 5 seeds"):
        PairedSpeedup(seen(fast), seen(fast[:5]))


def test_paired_ratios_cover_with_and_without_censoring() -> None:
    """True ratio 2, seven seeds that share most of their spread; a budget that censors some of the slow runs."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 1, (1500, 1, 7)), rng.normal(0, 0.2, (1500, 2, 7))
    costs = np.exp(shared + own) * np.array([[1.0], [2.0]])
    for budget in (inf, 3.0):
        covered = []
        for pair in costs:
            fast, slow = ([CostBounds(min(c, budget), c if c < budget else inf) for c in arm] for arm in pair)
            ratio = cost_ratio(fast, slow, paired=True)
            assert isinstance(ratio, SeenRatio) == (budget == inf or pair.max() < budget)
            low, high = ratio.interval(0.05)
            covered.append(low <= log(2) <= high)
        assert np.mean(covered) >= 0.94
