"""Verdicts: the order of the rules, planted effects, and studies of equal arms that find nothing."""

from __future__ import annotations

import json
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unimm.analysis.claims import Claims
from unimm.analysis.results import Curve, StudyResults
from unimm.analysis.verdicts import Outcome, Verdict, decide, outcome_of

METRIC = "geneval/overall"


def claim(kind: str = "difference", **changes: Any) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {
        "difference": {"contrast": {"a": 1, "b": -1}, "smallest_effect": 0.1},
        "non-inferiority": {"contrast": {"a": 1, "b": -1}, "smallest_effect": 0.1},
        "best-cell": {"best": "a", "others": ["b", "c"], "smallest_effect": 0.1},
        "reach": {"target": 0.5, "faster": "a", "slower": "b", "smallest_ratio": 1.2},
    }
    measured = {"role": "primary", "metric": METRIC, "direction": "higher", "budget": "flops"}
    return {"id": "it", "text": "So it is.", "kind": kind} | measured | own[kind] | changes


def claims(*entries: dict[str, Any], alpha: float = 0.05) -> Claims:
    return Claims.model_validate({"alpha": alpha, "claims": entries})


def results(scores: dict[str, Any], **more: Any) -> StudyResults:
    arrays = {arm: np.asarray(values, dtype=float) for arm, values in scores.items()}
    return StudyResults(setting="a test", scores={"flops": {METRIC: arrays}}, **more)


def spread(mean: float, sd: float = 0.01, seeds: int = 5) -> np.ndarray:
    return mean + sd * np.linspace(-1, 1, seeds)


def only(entry: dict[str, Any], study: StudyResults) -> Verdict:
    [verdict] = decide(claims(entry), study)
    return verdict


@pytest.mark.parametrize(
    ("low", "high", "difference", "non_inferiority"),
    [
        (-0.05, 0.05, "negligible", "supported"),
        (0.02, 0.05, "negligible", "supported"),  # certain, yet too small to matter
        (0.02, 0.3, "supported", "supported"),
        (-0.05, 0.3, "inconclusive", "supported"),
        (-0.3, -0.02, "contradicted", "inconclusive"),
        (-0.3, -0.12, "contradicted", "contradicted"),
        (-0.3, 0.3, "inconclusive", "inconclusive"),
        (0.0, 0.3, "inconclusive", "supported"),
    ],
)
def test_rules_apply_in_order(low: float, high: float, difference: str, non_inferiority: str) -> None:
    for kind, expected in (("difference", difference), ("non-inferiority", non_inferiority)):
        assert outcome_of(claims(claim(kind)).claims[0], (low, high), (low, high)) == expected


@pytest.mark.parametrize(("gap", "outcome"), [(1.0, "supported"), (-1.0, "contradicted"), (0.0, "negligible")])
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_planted_differences_are_found(gap: float, outcome: str, direction: str) -> None:
    sign = 1 if direction == "higher" else -1
    verdict = only(claim(direction=direction), results({"a": spread(sign * gap), "b": spread(0)}))
    assert verdict.outcome == outcome and verdict.estimate == pytest.approx(gap)
    assert verdict.low < verdict.estimate < verdict.high
    assert (verdict.n_seeds, verdict.n_items, verdict.seeds_needed, verdict.level) == (5, None, None, 0.05)
    assert verdict.scope == "5 seeds an arm on these prompts, by flops, in a test; says nothing about other settings."


@pytest.mark.parametrize(("simultaneous", "outcome"), [((-0.09, 0.09), "negligible"), ((-0.11, 0.09), "supported")])
def test_negligible_takes_the_interval_at_alpha_over_all_claims(
    simultaneous: tuple[float, float], outcome: str
) -> None:
    assert outcome_of(claims(claim()).claims[0], (0.01, 0.05), simultaneous) == outcome


def test_a_negligible_claim_shows_the_interval_that_says_so() -> None:
    """Beside a rejected claim Holm leaves the second one 0.05; its own is 0.05 / 2 all the same."""
    scores = {"a": spread(0.0, 0.04), "b": spread(0.0, 0.04), "c": spread(5.0)}
    entries = claims(claim(id="far", contrast={"c": 1, "a": -1}), claim(id="same"))
    far, same = decide(entries, results(scores))
    assert (far.outcome, same.outcome) == ("supported", "negligible") and same.level == pytest.approx(0.025)
    tight = stats.ttest_ind(scores["a"], scores["b"], equal_var=False).confidence_interval(1 - 0.025)
    assert (same.low, same.high) == pytest.approx((tight.low, tight.high))


def test_claims_at_the_margin_are_seldom_called_negligible() -> None:
    """Six effects exactly at the margin, 10 seeds: any wrong "negligible" in alpha / 2 of studies at most."""
    rng = np.random.default_rng(3)
    names = [f"{side}{number}" for number in range(6) for side in "xy"]
    entries = claims(*(claim(id=f"{n}", contrast={f"x{n}": 1, f"y{n}": -1}, smallest_effect=3.0) for n in range(6)))
    wrong = 0
    for scores in rng.normal(size=(400, 12, 10)):
        scores[::2] += 3.0
        study = results(dict(zip(names, scores, strict=True)))
        wrong += any(verdict.outcome == "negligible" for verdict in decide(entries, study))
    assert wrong / 400 <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 400)


@pytest.mark.parametrize("gap", [0.17, 0.0, -0.3])
def test_inconclusive_says_how_many_seeds_decide_four_times_in_five(gap: float) -> None:
    """New studies whose true effect and spread are those estimated decide in 80 %, with a third fewer seeds in less."""
    sd = 0.3
    verdict = only(claim(), results({"a": spread(gap, sd), "b": spread(0, sd)}))
    assert verdict.outcome == Outcome.INCONCLUSIVE and verdict.seeds_needed > 7
    rng, true = np.random.default_rng(0), float(np.std(spread(0, sd), ddof=1))

    def decided(seeds: int) -> float:
        found = [
            only(claim(), results({"a": a + gap, "b": b})).outcome for a, b in rng.normal(0, true, (200, 2, seeds))
        ]
        return float(np.mean([outcome != Outcome.INCONCLUSIVE for outcome in found]))

    assert decided(verdict.seeds_needed) > 0.75 > decided(round(0.67 * verdict.seeds_needed))


@pytest.mark.parametrize("kind", ["difference", "non-inferiority", "best-cell", "reach"])
@given(estimate=st.floats(-1, 1))
def test_an_interval_within_its_room_decides(kind: str, estimate: float) -> None:
    """A little narrower on both sides gives that verdict, a little wider does not, but for the last hundredth."""
    measured = claims(claim(kind)).claims[0]
    for room, wanted in (
        (measured.room_to_decide(estimate), {"supported", "contradicted"}),
        (measured.room_to_be_negligible(estimate), {"negligible"}),
    ):
        nearest = min(room)
        if nearest <= measured.margin / 100:
            continue
        wide = np.minimum(room, 10.0)
        for factor, decides in ((0.999, True), (1.001, False)):
            interval = estimate - factor * wide[0], estimate + factor * wide[1]
            outside = (-np.inf, np.inf) if "negligible" not in wanted else interval
            own = interval if "negligible" not in wanted else (-np.inf, np.inf)
            assert (outcome_of(measured, own, outside) in wanted) == decides


def log_claim(**changes: Any) -> dict[str, Any]:
    entry = claim(direction="lower", scale="log", smallest_ratio=1.25) | changes
    return {key: value for key, value in entry.items() if key != "smallest_effect"}


def test_logarithms_give_ratios_in_the_claimed_direction() -> None:
    """Distances 100 to 400 against half of that: the geometric means differ by a factor of 2, Welch's test on logs."""
    near, far = np.array([50.0, 100.0, 200.0, 90.0]), np.array([100.0, 200.0, 400.0, 180.0])
    verdict = only(log_claim(), results({"a": near, "b": far}))
    test = stats.ttest_ind(np.log(far), np.log(near), equal_var=False).confidence_interval(0.95)
    assert (verdict.estimate, verdict.low, verdict.high) == pytest.approx((2, np.exp(test.low), np.exp(test.high)))
    reverse = only(log_claim(direction="higher"), results({"a": near, "b": far}))
    assert reverse.estimate == pytest.approx(0.5)


@pytest.mark.parametrize(("factor", "outcome"), [(2.0, "supported"), (0.5, "contradicted"), (1.02, "negligible")])
def test_planted_ratios_are_found(factor: float, outcome: str) -> None:
    a = np.exp(spread(1.0, 0.02))
    assert only(log_claim(), results({"a": a, "b": factor * a[::-1]})).outcome == outcome
    worse = only(log_claim(kind="non-inferiority"), results({"a": a, "b": a[::-1] / 1.1}))
    assert worse.outcome == "supported" and worse.estimate == pytest.approx(1 / 1.1), "worse by less than 1.25 times"
    best = log_claim(kind="best-cell", best="a", others=["b", "c"])
    del best["contrast"]
    assert only(best, results({"a": a, "b": 2 * a, "c": 3 * a[::-1]})).estimate == pytest.approx(2)


@pytest.mark.parametrize("value", [0.0, -0.2])
def test_what_has_no_logarithm_is_untestable(value: float) -> None:
    verdict = only(log_claim(), results({"a": [1.0, 2.0, value], "b": [1.0, 2.0, 3.0]}))
    assert verdict.outcome == Outcome.UNTESTABLE
    assert verdict.note == f"a: {METRIC} of {value:g} has no logarithm; compare it on the linear scale"


@pytest.mark.parametrize("weights", [{"a": 1, "b": -1}, {"a": 1, "b": -0.5, "c": -0.5}])
def test_claims_wait_for_every_run(weights: dict[str, float]) -> None:
    entry = claim(contrast=weights)
    scores = {"a": spread(1), "b": spread(0, 0.02), "c": spread(0, -0.03)}
    assert only(entry, results(scores)).outcome == Outcome.SUPPORTED
    verdict = only(entry, results(scores, unfinished={"b": 1, "c": 0}))
    assert verdict.outcome == Outcome.UNTESTABLE and "runs of b are not finished" in verdict.note


def test_a_failed_guard_comes_first_and_is_named() -> None:
    guards = {"complete": lambda claim: None, "judge_passes": lambda claim: f"accuracy 0.6 on {claim.metric}"}
    study = results({"a": spread(1), "b": spread(0)}, guards=guards)
    verdict = only(claim(guards=["complete", "judge_passes"]), study)
    assert verdict.outcome == Outcome.UNTESTABLE and verdict.estimate is None
    assert verdict.note == "guard judge_passes: accuracy 0.6 on geneval/overall"
    assert only(claim(guards=["complete"]), study).outcome == Outcome.SUPPORTED
    assert only(claim(guards=["tuned"]), study).note == "guard tuned: was not checked"


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"a": spread(1)}, "b: geneval/overall at equal flops was not measured"),
        ({"a": spread(1), "b": [0.1, np.nan, 0.2]}, "b: geneval/overall at equal flops was not measured"),
        ({"a": spread(1), "b": [0.1, 0.2]}, "b: seeds run: 2; a verdict needs 3"),
        ({"a": [0.3] * 3, "b": [0.1] * 3}, "the scores do not vary"),
    ],
)
def test_what_cannot_be_tested_says_why(scores: dict[str, Any], reason: str) -> None:
    verdict = only(claim(), results(scores))
    assert verdict.outcome == Outcome.UNTESTABLE and reason in verdict.note


def test_primary_claims_share_alpha_and_untestable_ones_keep_their_place() -> None:
    entries = [claim(id="one"), claim(id="two", contrast={"b": 1, "a": -1}), claim(id="gone", metric="none")]
    one, two, gone = decide(claims(*entries), results({"a": spread(0.05, 0.3), "b": spread(0, 0.3)}))
    assert one.level == two.level == pytest.approx(0.05 / 3) and gone.level is None
    assert one.p_adjusted == pytest.approx(1)
    strong = results({"a": spread(1), "b": spread(0)})
    assert [v.level for v in decide(claims(*entries), strong)][:2] == pytest.approx([0.05 / 3, 0.05 / 2])


def test_secondary_claims_are_adjusted_apart() -> None:
    entries = [claim(id="one"), claim(id="two", role="secondary"), claim(id="three", role="secondary", metric="none")]
    one, two, _ = decide(claims(*entries), results({"a": spread(1), "b": spread(0)}))
    assert (one.level, two.level) == pytest.approx((0.05, 0.025))


def test_scores_by_prompt_use_their_tasks() -> None:
    rng = np.random.default_rng(0)
    scores = {"a": np.hstack([np.ones((3, 2)), rng.random((3, 8)) / 10]), "b": rng.random((3, 10)) / 10}
    study = results(scores, tasks={METRIC: ["x"] * 2 + ["y"] * 8})
    verdict = only(claim(), study)
    tasks = [(scores["a"] - scores["b"])[:, part].mean() for part in (slice(2), slice(2, None))]
    assert verdict.estimate == pytest.approx(np.mean(tasks)) and verdict.n_items == 10
    assert "3 seeds an arm and 10 prompts" in verdict.scope


@pytest.mark.parametrize(("best", "outcome"), [(1.0, "supported"), (0.3, "contradicted"), (0.52, "negligible")])
def test_best_cell(best: float, outcome: str) -> None:
    scores = {"a": spread(best), "b": spread(0.5), "c": spread(0.1)}
    verdict = only(claim("best-cell"), results(scores))
    assert verdict.outcome == outcome and verdict.estimate == pytest.approx(best - 0.5)
    assert verdict.note == "strongest rival: b"


def curve(delay: float, seeds: int = 5) -> Curve:
    """Scores that rise with the logarithm of the cost and cross 0.5 at 10 x delay, a little later for each seed."""
    costs = np.tile(np.geomspace(1, 1000, 10), (seeds, 1))
    late = np.log10(delay * (1 + 0.02 * np.arange(seeds)))[:, None]
    return Curve({"flops": costs}, 0.5 + 0.2 * (np.log10(costs) - 1 - late))


@pytest.mark.parametrize(("delay", "outcome"), [(3.0, "supported"), (1 / 3, "contradicted"), (1000.0, "supported")])
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_reach(delay: float, outcome: str, direction: str) -> None:
    sign = 1 if direction == "higher" else -1
    curves = {arm: Curve(c.costs, sign * c.scores) for arm, c in {"a": curve(1.0), "b": curve(delay)}.items()}
    study = StudyResults(setting="a test", curves={METRIC: curves})
    verdict = only(claim("reach", direction=direction, target=sign * 0.5), study)
    assert verdict.outcome == outcome
    reached = delay < 100
    assert verdict.estimate == pytest.approx(delay, rel=0.1) if reached else verdict.estimate > 80
    censored = "target reached by 5 of 5 against 0 of 5 runs, so ranks decide"
    assert verdict.note == ("target reached by every run" if reached else censored)
    assert json.loads(verdict.model_dump_json())["high"] == (pytest.approx(verdict.high) if reached else None)


def test_reach_with_three_seeds_is_decided_unless_a_run_is_censored() -> None:
    def decided(slower: Curve) -> Verdict:
        return only(claim("reach"), StudyResults("a test", curves={METRIC: {"a": curve(1.0, 3), "b": slower}}))

    seen = decided(curve(3.0, 3))
    assert (seen.outcome, seen.n_seeds, seen.note) == (Outcome.SUPPORTED, 3, "target reached by every run")
    assert seen.estimate == pytest.approx(3.0, rel=0.01) and 2.5 < seen.low < 3 < seen.high < 3.5
    never = decided(curve(1000.0, 3))
    assert (never.outcome, never.seeds_needed) == (Outcome.INCONCLUSIVE, 4)
    assert never.note == "target reached by 3 of 3 against 0 of 3 runs, so ranks decide"
    alike = Curve(curve(1.0, 3).costs, np.tile(curve(1.0, 1).scores, (3, 1)))
    same = StudyResults("a test", curves={METRIC: {"a": alike, "b": alike}})
    assert only(claim("reach"), same).outcome == Outcome.UNTESTABLE
    unpaid = StudyResults("a test", curves={METRIC: {"a": alike, "b": curve(3.0, 3)}})
    assert only(claim("reach", budget="generation_samples"), unpaid).outcome == Outcome.UNTESTABLE
    assert claims(claim("reach")).claims[0].margin == pytest.approx(log(1.2))


def test_invariants_are_checked_not_tested() -> None:
    entry = {"id": "frozen", "text": "Frozen.", "kind": "invariant", "holds": {"backbone_unchanged": ["a", "b"]}}
    facts = {"backbone_unchanged": {"a": [True] * 3, "b": [True, True, False]}}
    broken = only(entry, StudyResults(setting="a test", facts=facts))
    assert (broken.outcome, broken.note) == (Outcome.CONTRADICTED, "broken: backbone_unchanged in b")
    held = only(entry | {"holds": {"backbone_unchanged": ["a"]}}, StudyResults(setting="a test", facts=facts))
    assert held.outcome == Outcome.SUPPORTED and held.p_adjusted is held.low is None
    assert only(entry, StudyResults(setting="a test")).note == "a: backbone_unchanged was not checked"


def test_an_invariant_waits_for_every_run_unless_one_has_broken_it() -> None:
    entry = {"id": "frozen", "text": "Frozen.", "kind": "invariant", "holds": {"backbone_unchanged": ["a", "b"]}}
    for facts, outcome in (([True], Outcome.UNTESTABLE), ([False], Outcome.CONTRADICTED)):
        runs = {"backbone_unchanged": {"a": [True] * 3, "b": facts}}
        assert only(entry, StudyResults("a test", facts=runs, unfinished={"b": 2})).outcome == outcome
    runs = {"backbone_unchanged": {"a": [True] * 3, "b": [True] * 3}}
    assert only(entry, StudyResults("a test", facts=runs, unfinished={"c": 2})).outcome == Outcome.SUPPORTED


@pytest.mark.parametrize("seeds", [3, pytest.param(5, marks=pytest.mark.repeat)])
def test_studies_of_equal_arms_find_nothing_more_often_than_alpha(seeds: int) -> None:
    """Eight arms of one distribution, with shared prompts, seed effects and every kind of contrast."""
    rng = np.random.default_rng(seeds)
    arms = "abcdefgh"
    main = {arm: 0.25 if arm in "abcd" else -0.25 for arm in arms}
    study_claims = claims(
        claim(id="pair", smallest_effect=1e-6),
        claim(id="other pair", smallest_effect=1e-6, contrast={"c": 1, "d": -1}),
        claim(id="main", smallest_effect=1e-6, contrast=main),
        claim("best-cell", id="best", smallest_effect=1e-6),
    )
    prompts = rng.normal(0, 0.3, (400, 1, 1, 40)) + rng.normal(0, 0.1, (400, 8, 1, 40))
    scores = prompts + rng.normal(0, 0.1, (400, 8, seeds, 1)) + rng.normal(0, 0.3, (400, 8, seeds, 40))
    found = [decide(study_claims, results(dict(zip(arms, study, strict=True)))) for study in scores]
    decided = {Outcome.SUPPORTED, Outcome.CONTRADICTED, Outcome.NEGLIGIBLE}
    wrong = np.mean([any(verdict.outcome in decided for verdict in study) for study in found])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(scores))


def test_studies_of_unequal_arms_find_the_difference() -> None:
    """A gap of 4 seed standard deviations with 5 seeds: found in most studies, never the wrong way round."""
    rng = np.random.default_rng(0)
    entries = claims(claim(id="right"), claim(id="wrong", contrast={"b": 1, "a": -1}))
    outcomes = []
    for a, b in rng.normal(0, 0.1, (300, 2, 5)):
        outcomes.append(tuple(verdict.outcome for verdict in decide(entries, results({"a": a + 0.4, "b": b}))))
    assert np.mean([right == "supported" and wrong == "contradicted" for right, wrong in outcomes]) > 0.95
    assert not any(right == "contradicted" or wrong == "supported" for right, wrong in outcomes)
