"""From a claim and a study's results to the claim's effect, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch

from unimm.analysis.best_cell import Lead
from unimm.analysis.claims import BestCell, Difference, Measured, NonInferiority, Reach
from unimm.analysis.contrast import Comparison, contrast
from unimm.analysis.effect import Effect
from unimm.analysis.reach import Cost, SeenRatio, cost_ratio, cost_to_reach
from unimm.analysis.results import StudyResults, Untestable


def attempt(claim: Measured, results: StudyResults) -> Effect | Untestable:
    """The claim's effect, positive in the claimed direction, or why it is untestable."""
    try:
        results.check_guards(claim)
        _check_finished(claim, results)
        return _measure(claim, results)
    except Untestable as reason:
        return reason


@singledispatch
def _measure(claim: Measured, results: StudyResults) -> Effect:
    raise NotImplementedError(type(claim))


@_measure.register(Difference)
@_measure.register(NonInferiority)
def _(claim: Difference | NonInferiority, results: StudyResults) -> Effect:
    comparison = _compare(claim, claim.contrast, results)
    _check_varies(comparison.standard_error)
    return comparison


@_measure.register
def _(claim: BestCell, results: StudyResults) -> Effect:
    lead = Lead({rival: _compare(claim, {claim.best: 1, rival: -1}, results) for rival in claim.others})
    _check_varies(lead.standard_error)
    return lead


@_measure.register
def _(claim: Reach, results: StudyResults) -> Effect:
    ratio = cost_ratio(_costs(claim, claim.faster, results), _costs(claim, claim.slower, results))
    if isinstance(ratio, SeenRatio):
        _check_varies(ratio.standard_error)
    return ratio


def _compare(claim: Measured, weights: Mapping[str, float], results: StudyResults) -> Comparison:
    cells = {arm: results.score(claim.budget, claim.metric, arm) for arm in weights}
    by_prompt = next(iter(cells.values())).ndim == 2
    tasks = results.tasks.get(claim.metric) if by_prompt else None
    return contrast(cells, {arm: claim.sign * weight for arm, weight in weights.items()}, tasks=tasks)


def _costs(claim: Reach, arm: str, results: StudyResults) -> list[Cost]:
    """What each run of one arm paid to reach the claim's target."""
    costs, scores = results.curve(claim.budget, claim.metric, arm)
    sign = claim.sign
    return [cost_to_reach(x, sign * y, sign * claim.target) for x, y in zip(costs, scores, strict=True)]


def _check_finished(claim: Measured, results: StudyResults) -> None:
    """Runs that fail are seldom like those that finish, so that the rest of them is no sample."""
    gaps = {name: None for _, kind, name in claim.references() if kind == "arms" and results.unfinished.get(name)}
    if gaps:
        raise Untestable(f"runs of {', '.join(gaps)} are not finished")


def _check_varies(standard_error: float) -> None:
    if standard_error == 0:
        raise Untestable("the scores do not vary over runs: state it as an invariant, or look for a floor or ceiling")
