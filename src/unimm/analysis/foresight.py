"""What a study can find, claim by claim, before it runs.

Each claim has the level that its family leaves it in the worst case, alpha / (claims of its role): Holm's first step,
and Benjamini and Hochberg's with a single finding. Without pilots, numbers are in standard deviations between the
seeds of one arm, for scores by run of arms that vary alike and share nothing; what arms of one side share (joint arms
of a seed see the same questions in the same order) adds its square to the variance of a contrast of more than two
arms, which is said for 1 standard deviation.

Pilots, an earlier study with these arms, tell how much each arm varies, what the arms of a seed share (it is in the
contrast's own variance over seeds) and the prompts' part, so that numbers are in the metric's unit, with the chance
to find an effect as large as the smallest one of interest. How runs vary is itself a rough number after a few seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unimm.analysis.claims import BestCell, Claims, Difference, Invariant, Measured, NonInferiority, Reach
from unimm.analysis.measure import compare_arms, costs_to_target, seed_by_seed
from unimm.analysis.power import Spread, half_width, minimum_detectable_effect, power, same_spread, smallest_rank_p
from unimm.analysis.results import StudyResults, Untestable

Array = NDArray[np.float64]
PAIR = {"a": 1.0, "b": -1.0}


@dataclass(frozen=True)
class Foresight:
    """One claim: median half-width of its interval, and the effect that is found four times in five.

    Both are in seed standard deviations, or, with pilots, on the scale of the claim's margin, whose `chance` to be
    found is then known as well.
    """

    claim: str
    role: str
    level: float
    half_width: float
    detectable: float
    note: str
    margin: float
    is_ratio: bool
    chance: float | None = None


def foresee(claims: Claims, seeds: int, pilots: StudyResults | None = None) -> list[Foresight]:
    """Every claim that has a number, in the order of the file; `seeds` is the number for each arm.

    Claims on which the pilots say nothing are in seed standard deviations; their `chance` is None.

    Raises:
        ValueError: fewer than 2 seeds, which have no spread.
    """
    measured = [claim for claim in claims.claims if not isinstance(claim, Invariant)]
    return [
        _foresight(claim, claims.alpha / sum(other.role == claim.role for other in measured), seeds, pilots)
        for claim in measured
    ]


def _foresight(claim: Measured, level: float, seeds: int, pilots: StudyResults | None) -> Foresight:
    found = None if pilots is None else _piloted(claim, pilots)
    weights = list(_weights(claim).values())
    spread = found or same_spread(weights, by_seed=len(weights) > 2 or claim.paired)
    return Foresight(
        claim=claim.id,
        role=claim.role,
        level=level,
        half_width=half_width(seeds, alpha=level, spread=spread),
        detectable=minimum_detectable_effect(seeds, alpha=level, spread=spread),
        note="; ".join(
            filter(None, [_note(claim, seeds, level, found is not None), "" if found else _shared(claim, seeds, level)])
        ),
        margin=claim.margin,
        is_ratio=claim.is_ratio,
        chance=power(seeds, claim.margin, alpha=level, spread=spread) if found else None,
    )


def _piloted(claim: Measured, pilots: StudyResults) -> Spread | None:
    """The claim's spread as the pilots show it; None if they lack an arm, the metric, or 2 seeds that differ."""
    try:
        found = _terms(claim, pilots)
        spreads = [
            _spread(runs, weights, lasting, by_seed=seed_by_seed(claim, runs, pilots))
            for runs, weights, lasting in found
        ]
    except (Untestable, ValueError):
        return None
    known = [spread for spread in spreads if sum(spread.terms) > 0]
    return max(known, key=lambda spread: spread.error(2)) if len(known) == len(spreads) else None


def _spread(runs: Mapping[str, Array], weights: Mapping[str, float], lasting: float, *, by_seed: bool) -> Spread:
    """From scores by run, `[seeds]` each, and the prompts' standard error."""
    terms = [weight * runs[arm] for arm, weight in weights.items()]
    seen = [np.sum(terms, axis=0)] if by_seed else terms
    return Spread(tuple(float(values.var(ddof=1)) for values in seen), lasting**2)


Terms = tuple[Mapping[str, Array], Mapping[str, float], float]


@singledispatch
def _terms(claim: Measured, pilots: StudyResults) -> Sequence[Terms]:
    """Runs by arm, weights and the prompts' standard error, for each contrast that the claim rests on."""
    raise NotImplementedError(type(claim))


@_terms.register(Difference)
@_terms.register(NonInferiority)
def _(claim: Difference | NonInferiority, pilots: StudyResults) -> Sequence[Terms]:
    return [_scores(claim, _weights(claim), pilots)]


@_terms.register
def _(claim: BestCell, pilots: StudyResults) -> Sequence[Terms]:
    return [_scores(claim, {claim.best: 1.0, rival: -1.0}, pilots) for rival in claim.others]


@_terms.register
def _(claim: Reach, pilots: StudyResults) -> Sequence[Terms]:
    bounds = {arm: costs_to_target(claim, arm, pilots) for arm in (claim.slower, claim.faster)}
    if any(run.low != run.high for arm in bounds.values() for run in arm):
        raise Untestable("a pilot's cost is only bounded")
    runs = {arm: np.log([run.low for run in costs]) for arm, costs in bounds.items()}
    return [(runs, {claim.slower: 1.0, claim.faster: -1.0}, 0.0)]


def _scores(claim: Measured, weights: Mapping[str, float], pilots: StudyResults) -> Terms:
    lasting = compare_arms(claim, weights, pilots).lasting_error
    return {arm: pilots.by_run(claim, arm) for arm in weights}, weights, lasting


@singledispatch
def _weights(claim: Measured) -> Mapping[str, float]:
    raise NotImplementedError(type(claim))


@_weights.register(Difference)
@_weights.register(NonInferiority)
def _(claim: Difference | NonInferiority) -> Mapping[str, float]:
    return {arm: weight for arm, weight in claim.contrast.items() if weight}


@_weights.register(BestCell)
@_weights.register(Reach)
def _(claim: BestCell | Reach) -> Mapping[str, float]:
    return PAIR


def _note(claim: Measured, seeds: int, level: float, piloted: bool) -> str:
    """What the numbers leave out."""
    if isinstance(claim, BestCell):
        return "of the rival that varies most" if piloted else "of each rival"
    if isinstance(claim, Reach):
        undecided = smallest_rank_p(seeds) > level
        return "of log costs" + ("; open if any run misses the target" if undecided else "")
    return "of log scores" if claim.is_ratio else ""


def _shared(claim: Measured, seeds: int, level: float) -> str:
    """What it costs a contrast of many arms if those of one side share something."""
    weights = list(_weights(claim).values())
    if len(weights) <= 2:
        return ""
    more = minimum_detectable_effect(seeds, alpha=level, spread=same_spread(weights, by_seed=True, shared=1.0))
    return f"{more:.2f} if the arms of one side share 1"


def table(foresights: Sequence[Foresight], seeds: int, pilot_seeds: int | None = None) -> str:
    """As text, with what its numbers mean; `pilot_seeds` is how many seeds an arm the pilots have, if there are any."""
    width = max(len(each.claim) for each in foresights)
    blind = [each for each in foresights if each.chance is None]
    known = [each for each in foresights if each.chance is not None]
    lines = []
    if blind:
        lines += [
            f"What {seeds} seeds an arm can find, in standard deviations between seeds of one arm, if all arms vary "
            "alike (prompts come on top):",
            f"  {'claim':<{width}}  {'role':<9}  {'level':>6}  {'interval':>8}  smallest effect found 4 times in 5",
            *(_blind(each, width) for each in blind),
        ]
    if known:
        assert pilot_seeds is not None, "what is known comes from pilots"
        lines += [
            f"What {seeds} seeds an arm can find, in each metric's unit (xN: a ratio), with the spread that pilots of "
            f"{pilot_seeds} seeds have, prompts included:",
            f"  {'claim':<{width}}  {'role':<9}  {'level':>6}  {'interval':>8}  {'found 4 in 5':>12}  "
            f"{'of interest':>11}  chance to find that",
            *(_known(each, width) for each in known),
            f"  {_rough(pilot_seeds)}",
        ]
    return "\n".join(lines)


def _blind(each: Foresight, width: int) -> str:
    numbers = f"{each.level:6.4f}  {'±' + format(each.half_width, '.2f'):>8}  {each.detectable:.2f}"
    return f"  {each.claim:<{width}}  {each.role:<9}  {numbers}{each.note and f' ({each.note})'}"


def _known(each: Foresight, width: int) -> str:
    def shown(value: float, sign: str) -> str:
        return f"x{np.exp(value):.3g}" if each.is_ratio else f"{sign}{value:.3g}"

    assert each.chance is not None
    numbers = f"{shown(each.half_width, '±'):>8}  {shown(each.detectable, ''):>12}  {shown(each.margin, ''):>11}"
    tail = f"{100 * each.chance:.0f} %{each.note and f' ({each.note})'}"
    return f"  {each.claim:<{width}}  {each.role:<9}  {each.level:6.4f}  {numbers}  {tail}"


def _rough(seeds: int) -> str:
    """How far a standard deviation over so few seeds may lie from the true one."""
    low, high = (sqrt((seeds - 1) / stats.chi2.ppf(end, seeds - 1)) for end in (0.975, 0.025))
    return f"A spread of {seeds} seeds is rough: the true one is {low:.2f} to {high:.2f} times as large (95 %)."
