"""What a study says of each claim, decided on its Holm-adjusted interval [L, U] in this order:

    untestable    a guard failed, something was not measured, fewer than 3 seeds, or scores that do not vary
    negligible    the interval lies inside plus or minus the smallest effect of interest
    supported     L > 0 (non-inferiority: above minus the smallest effect)
    contradicted  U < 0 (non-inferiority: below minus the smallest effect)
    inconclusive  none of these; with the seeds that would decide if the estimate stayed

Secondary claims get false coverage rate intervals instead. An untestable claim keeps its place in the family (as if
p = 1), because which claims fail a guard depends on the data.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from unimm.analysis.claims import Claims, Invariant, Measured
from unimm.analysis.effect import Effect
from unimm.analysis.measure import attempt
from unimm.analysis.multiplicity import benjamini_hochberg, holm
from unimm.analysis.results import StudyResults, Untestable

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

    `estimate`, `low` and `high` are in the metric's unit, positive in the claimed direction (ratio of costs for
    `reach`); the interval is at level 1 - `level`. `note` has the reason of an untestable claim.
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
    n_items: int | None = None
    seeds_needed: int | None = None
    note: str = ""
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
            found[claim.id] = _verdict(claim, effect, float(p), float(level), results)
    found |= {claim.id: _check(claim, results) for claim in claims.claims if isinstance(claim, Invariant)}
    return [found[claim.id] for claim in claims.claims]


def _verdict(
    claim: Measured, effect: Effect | Untestable, p_adjusted: float, level: float, results: StudyResults
) -> Verdict:
    if isinstance(effect, Untestable):
        scope = f"Not tested in {results.setting}."
        return Verdict(claim=claim.id, outcome=Outcome.UNTESTABLE, note=str(effect), scope=scope)
    low, high = effect.interval(level)
    outcome = outcome_of(claim, low, high)
    open_question = outcome is Outcome.INCONCLUSIVE
    return Verdict(
        claim=claim.id,
        outcome=outcome,
        estimate=claim.in_units(effect.estimate),
        low=claim.in_units(low),
        high=claim.in_units(high),
        level=level,
        p_adjusted=p_adjusted,
        n_seeds=effect.n_seeds,
        n_items=effect.n_items,
        seeds_needed=effect.seeds_needed(level, claim.decisive_half_width) if open_question else None,
        note=effect.note,
        scope=_scope(claim, effect, results.setting),
    )


def outcome_of(claim: Measured, low: float, high: float) -> Outcome:
    """The outcome of a claim whose effect has the interval [low, high], on the scale of `claim.margin`."""
    rules = {
        Outcome.NEGLIGIBLE: -claim.negligible_within < low and high < claim.negligible_within,
        Outcome.SUPPORTED: low > claim.null,
        Outcome.CONTRADICTED: high < claim.null,
    }
    return next((outcome for outcome, holds in rules.items() if holds), Outcome.INCONCLUSIVE)


def _scope(claim: Measured, effect: Effect, setting: str) -> str:
    prompts = "" if effect.n_items is None else f" and {effect.n_items} prompts"
    budget = claim.budget.replace("_", " ")
    return f"{effect.n_seeds} seeds an arm{prompts}, by {budget}, in {setting}; says nothing about other settings."


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
