"""What a study says of each claim, decided on its adjusted interval [L, U] in this order:

    untestable    a guard failed, something was not measured, fewer than 3 seeds, or scores that do not vary
    negligible    the interval at alpha / m, m the claims of its role, lies inside plus or minus the smallest effect
    supported     L > 0 (non-inferiority: above minus the smallest effect)
    contradicted  U < 0 (non-inferiority: below minus the smallest effect)
    inconclusive  none of these; with the seeds that decide four times in five if effect and spread are as estimated

An untestable claim keeps its place in the family (as if p = 1), because which claims fail a guard depends on the data.

Many claims at once are adjusted by role. Beside adjusted p-values, each claim gets the level at which its own interval
agrees with the decision: the interval at 1 - level excludes the null value exactly when the claim is rejected.

Primary claims: Holm (1979) keeps the chance of any wrong rejection at alpha. With p-values in ascending order and m
claims, the i-th (from 0) has level alpha / (m - i) as long as all so far are rejected; claims retained share alpha /
(m - rejected). The decisions are simultaneous, the sizes of effects read off these intervals are not. "Too small to
matter" is such a size, which Holm's levels give no error rate: with six effects exactly at the margin and 10 seeds,
some claim was wrongly called negligible in 10 % of studies. It is therefore decided on the interval at alpha / m
(Bonferroni; two one-sided tests at alpha / 2m each), so that the chance of any wrong "negligible" is at most alpha /
2, since an effect at a margin can be wrongly placed inside it on one side only. A negligible claim shows that
interval.

Secondary claims: Benjamini and Hochberg (1995) keep the expected share of wrong ones among the rejected at alpha. Every
claim has level max(rejected, 1) * alpha / m: the false coverage rate intervals of Benjamini and Yekutieli (2005). These
hold for the rejected, which negligible claims are not, so that these too are decided at alpha / m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

from unimm.analysis.claims import Claims, Invariant, Measured, Reach
from unimm.analysis.doubts import doubts
from unimm.analysis.measure import Effect, attempt, pairing
from unimm.analysis.results import StudyResults, Untestable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Adjustment:
    """Adjusted p-values and interval levels (alphas), both `[claims]` in the order given."""

    p_values: Array
    levels: Array


def holm(p_values: Sequence[float], alpha: float = 0.05) -> Adjustment:
    """Holm's step-down procedure; a claim is rejected where its adjusted p-value is at most alpha."""
    p = np.asarray(p_values, dtype=float)
    order, left = np.argsort(p, kind="stable"), np.arange(len(p), 0, -1)
    adjusted, levels = np.empty_like(p), np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(left * p[order]), 1)
    passed = p[order] <= alpha / left
    rejected = len(p) if passed.all() else int(np.argmin(passed))
    levels[order] = alpha / np.maximum(left, len(p) - rejected)
    levels[order[rejected:]] = alpha / max(len(p) - rejected, 1)
    return Adjustment(adjusted, levels)


def benjamini_hochberg(p_values: Sequence[float], alpha: float = 0.05) -> Adjustment:
    """Benjamini and Hochberg's step-up procedure; rejected where the adjusted p-value is at most alpha."""
    p = np.asarray(p_values, dtype=float)
    adjusted = stats.false_discovery_control(p) if len(p) else p
    rejected = max(int((adjusted <= alpha).sum()), 1)
    return Adjustment(adjusted, np.full_like(p, alpha * rejected / max(len(p), 1)))


_ADJUSTMENTS = {"primary": holm, "secondary": benjamini_hochberg}


class Outcome(StrEnum):
    """The five verdicts."""

    UNTESTABLE = "untestable"
    NEGLIGIBLE = "negligible"
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"


class Verdict(BaseModel):
    """A claim's outcome with all that a reader needs to doubt it; numbers are None where there is none.

    `estimate`, `low` and `high` are in the metric's unit, positive in the claimed direction (a ratio for `reach` and
    on the logarithmic scale); the interval is at level 1 - `level`. Where the `n_seeds` of an arm stand on `n_draws` of
    the foundation, `seeds_needed` counts these. The `n_items` prompts have `n_texts` distinct texts; verdicts of before
    2026-11-30 do not say how many. `note` has the reason of an untestable claim, `warnings` what makes the interval
    doubtful, a sentence each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    outcome: Outcome
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p_adjusted: float | None = None
    n_seeds: int | None = None
    n_draws: int | None = None
    n_items: int | None = None
    n_texts: int | None = None
    seeds_needed: int | None = None
    note: str = ""
    warnings: tuple[str, ...] = ()
    scope: str


def decide(claims: Claims, results: StudyResults) -> list[Verdict]:
    """A verdict for every claim, in the order of the file."""
    found: dict[str, Verdict] = {}
    for role, adjust in _ADJUSTMENTS.items():
        family = [claim for claim in claims.claims if not isinstance(claim, Invariant) and claim.role == role]
        effects = [attempt(claim, results) for claim in family]
        p_values = [
            1.0 if isinstance(effect, Untestable) else effect.p_value(claim.null)
            for claim, effect in zip(family, effects, strict=True)
        ]
        adjusted = adjust(p_values, claims.alpha)
        for claim, effect, p, level in zip(family, effects, adjusted.p_values, adjusted.levels, strict=True):
            levels = Levels(float(level), claims.alpha / len(family))
            found[claim.id] = _verdict(claim, effect, float(p), levels, results)
    found |= {claim.id: _check(claim, results) for claim in claims.claims if isinstance(claim, Invariant)}
    return [found[claim.id] for claim in claims.claims]


@dataclass(frozen=True)
class Levels:
    """Alphas of a claim's intervals: the one that decides on its direction, and the one that "negligible" takes."""

    direction: float
    negligible: float


def _verdict(
    claim: Measured, effect: Effect | Untestable, p_adjusted: float, levels: Levels, results: StudyResults
) -> Verdict:
    if isinstance(effect, Untestable):
        scope = f"Not tested in {results.setting}."
        return Verdict(claim=claim.id, outcome=Outcome.UNTESTABLE, note=str(effect), scope=scope)
    outcome = outcome_of(claim, effect.interval(levels.direction), effect.interval(levels.negligible))
    level = levels.negligible if outcome is Outcome.NEGLIGIBLE else levels.direction
    low, high = effect.interval(level)
    return Verdict(
        claim=claim.id,
        outcome=outcome,
        estimate=claim.in_units(effect.estimate),
        low=claim.in_units(low),
        high=claim.in_units(high),
        level=level,
        p_adjusted=p_adjusted,
        n_seeds=effect.n_seeds * results.seeds_a_draw,
        n_draws=effect.n_seeds if results.draws else None,
        n_items=effect.n_items,
        n_texts=effect.n_texts,
        seeds_needed=seeds_to_decide(claim, effect, levels) if outcome is Outcome.INCONCLUSIVE else None,
        note="; ".join(filter(None, (effect.note, pairing(claim, results)))),
        warnings=doubts(claim, results),
        scope=_scope(claim, effect, results) + _why_by_run(claim, effect, results),
    )


def outcome_of(claim: Measured, interval: tuple[float, float], simultaneous: tuple[float, float]) -> Outcome:
    """The outcome of a claim, on the scale of `claim.margin`, by its adjusted interval and by that at alpha / m."""
    within = claim.negligible_within
    rules = {
        Outcome.NEGLIGIBLE: -within < simultaneous[0] and simultaneous[1] < within,
        Outcome.SUPPORTED: interval[0] > claim.null,
        Outcome.CONTRADICTED: interval[1] < claim.null,
    }
    return next((outcome for outcome, holds in rules.items() if holds), Outcome.INCONCLUSIVE)


def seeds_to_decide(claim: Measured, effect: Effect, levels: Levels) -> int | None:
    """Seeds an arm that decide on the direction or that it is negligible, whichever takes fewer."""
    ways = (
        effect.seeds_needed(levels.direction, claim.room_to_decide),
        effect.seeds_needed(levels.negligible, claim.room_to_be_negligible),
    )
    return min((seeds for seeds in ways if seeds is not None), default=None)


def _scope(claim: Measured, effect: Effect, results: StudyResults) -> str:
    """Over what the interval reaches: with a score a run it takes the test as it is, the same in every seed."""
    if effect.n_items is None:
        items = f" on these {'questions' if claim.metric in results.questions else 'prompts'}"
    else:
        items = f" and {effect.n_items} {results.units.get(claim.metric, 'prompts')}"
        items += f" of {effect.n_texts} texts" if effect.n_texts != effect.n_items else ""
    seeds = f"{effect.n_seeds * results.seeds_a_draw} seeds an arm"
    if results.draws:
        seeds += f" on {effect.n_seeds} draws of the foundation"
    sample = f"{seeds}{items}, by {claim.budget.replace('_', ' ')}"
    return f"{sample}, in {results.setting}; says nothing about other settings."


def _why_by_run(claim: Measured, effect: Effect, results: StudyResults) -> str:
    """A sentence on a claim that would have been decided by prompt if all files were there; empty for others."""
    expected = claim.budget == "generation_samples" and not isinstance(claim, Reach) and effect.n_items is None
    return (
        f" By run, not by prompt: {results.why_by_run[claim.metric]}."
        if expected and claim.metric in results.why_by_run
        else ""
    )


def _check(claim: Invariant, results: StudyResults) -> Verdict:
    """Whether every fact held in every run: one run can break it, and only all of them bear it out."""
    try:
        results.check_guards(claim)
        runs = {(fact, arm): results.fact(fact, arm) for fact, arms in claim.holds.items() for arm in arms}
        broken = [f"{fact} in {arm}" for (fact, arm), held in runs.items() if not all(held)]
        waiting = {arm: results.unfinished.get(arm, 0) for _, arm in runs}
        if not broken and any(waiting.values()):
            raise Untestable(f"{sum(waiting.values())} runs are not finished; it held in those that are")
    except Untestable as reason:
        return Verdict(
            claim=claim.id, outcome=Outcome.UNTESTABLE, note=str(reason), scope=f"Not tested in {results.setting}."
        )
    seeds = min(map(len, runs.values()))
    return Verdict(
        claim=claim.id,
        outcome=Outcome.CONTRADICTED if broken else Outcome.SUPPORTED,
        n_seeds=seeds,
        note=f"broken: {', '.join(broken)}" if broken else "an exact check of every run, not a test",
        scope=f"{seeds} seeds an arm, in {results.setting}; says nothing about other settings.",
    )
