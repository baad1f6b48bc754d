"""From a claim and a study's results to the claim's effect, or to the reason why there is none.

A verdict needs the same of every effect, however it was estimated: a contrast of means, the smallest of several
contrasts, or a ratio of costs. Each pairs an interval with a p-value so that `interval(a)` excludes a null value
exactly when `p_value(null) <= a`; only then may Holm's procedure decide on p-values and the verdict on intervals.

How far one arm is ahead of its strongest rival is the smallest of several contrasts, theta = min_i theta_i, since
"best" means better than every other arm. At level 1 - alpha its interval is [min_i L_i(alpha), min_i U_i(alpha / k)]
for k rivals: the lower bound exceeds 0 only if every contrast is positive at alpha on its own (no correction: the
intersection-union test), while the upper bound could come from any of k contrasts and pays for it (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from functools import singledispatch
from typing import Protocol

import numpy as np

from unimm.analysis.claims import BestCell, Difference, Measured, NonInferiority, Reach
from unimm.analysis.contrast import Comparison, contrast
from unimm.analysis.power import USUAL, Room
from unimm.analysis.reach import CostBounds, SeenRatio, cost_ratio, cost_to_reach
from unimm.analysis.results import StudyResults, Untestable


class Effect(Protocol):
    """An estimated effect, positive in the claimed direction."""

    @property
    def estimate(self) -> float:
        """Point estimate, in the metric's unit (a natural logarithm for ratios of costs)."""

    @property
    def n_seeds(self) -> int:
        """Seeds of the arm with the fewest."""

    @property
    def n_items(self) -> int | None:
        """Prompts behind each run's score, or None where runs give one value each."""

    @property
    def n_texts(self) -> int | None:
        """Distinct texts of these prompts."""

    @property
    def note(self) -> str:
        """What a reader has to know beside the numbers; empty if nothing."""

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence interval at level 1 - alpha; infinite where the data set no bound."""

    def p_value(self, null: float) -> float:
        """Two-sided p-value of "the effect equals `null`"."""

    def seeds_needed(self, alpha: float, room: Callable[[float], Room], chance: float = USUAL) -> int | None:
        """Seeds an arm with which a new study decides with that chance, were effect and spread as estimated.

        `room` is how far below and above an estimate its interval has to end (`unimm.analysis.claims`). None if no
        number of seeds would do.
        """


@dataclass(frozen=True)
class Lead:
    """Contrasts of one arm with each of its rivals, by rival."""

    rivals: Mapping[str, Comparison]

    @property
    def estimate(self) -> float:
        """Distance from the strongest rival."""
        return min(rival.estimate for rival in self.rivals.values())

    @property
    def n_seeds(self) -> int:
        """Seeds of the arm with the fewest."""
        return min(rival.n_seeds for rival in self.rivals.values())

    @property
    def n_items(self) -> int | None:
        """Prompts behind each run's score, or None for scores by run."""
        return next(iter(self.rivals.values())).n_items

    @property
    def n_texts(self) -> int | None:
        """Distinct texts of these prompts."""
        return next(iter(self.rivals.values())).n_texts

    @property
    def standard_error(self) -> float:
        """Standard error of the most certain contrast: 0 if neither arm of it varies."""
        return min(rival.standard_error for rival in self.rivals.values())

    @property
    def note(self) -> str:
        """Which rival is the strongest."""
        return f"strongest rival: {min(self.rivals, key=lambda name: self.rivals[name].estimate)}"

    def interval(self, alpha: float) -> tuple[float, float]:
        """Interval of the lead at level 1 - alpha."""
        rivals = self.rivals.values()
        lows = [rival.interval(alpha)[0] for rival in rivals]
        highs = [rival.interval(alpha / len(rivals))[1] for rival in rivals]
        return min(lows), min(highs)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of "the lead equals `null`"."""
        above, below = zip(*(rival.tails(null) for rival in self.rivals.values()), strict=True)
        return float(min(1.0, 2 * max(above), 2 * len(below) * min(below)))

    def seeds_needed(self, alpha: float, room: Callable[[float], Room], chance: float = USUAL) -> int | None:
        """Seeds after which the quickest of the rivals that are ahead is surely ahead; or else none, all surely not.

        That no rival is ahead takes every contrast, whose chances to miss add up at most. For a lead that shall lie
        between two bounds the strongest rival counts.
        """
        rivals = list(self.rivals.values())
        strongest = min(rivals, key=lambda rival: rival.estimate)
        if np.isfinite(room(strongest.estimate)).all():
            return strongest.seeds_needed(alpha / len(rivals), room, chance)
        ahead = [rival.seeds_needed(alpha / len(rivals), room, chance) for rival in rivals if rival.estimate < 0]
        if ahead:
            return min((seeds for seeds in ahead if seeds is not None), default=None)
        behind = [rival.seeds_needed(alpha, room, 1 - (1 - chance) / len(rivals)) for rival in rivals]
        return None if None in behind else max(seeds for seeds in behind if seeds is not None)


def attempt(claim: Measured, results: StudyResults) -> Effect | Untestable:
    """The claim's effect, positive in the claimed direction, or why it is untestable."""
    try:
        results.check_guards(claim)
        _check_finished(claim, results)
        return _measure(claim, results)
    except Untestable as reason:
        return reason


def pairing(claim: Measured, results: StudyResults) -> str:
    """Why the claim's arms are compared seed by seed, where two of them could be compared otherwise; else empty.

    Where arms go on from the same training, or stand on the draw of the foundation that their seed was dealt, nobody
    chooses: their runs of one seed are no two draws.
    """
    if why := next(filter(None, (results.why_paired(*pair) for pair in claim.pairs)), ""):
        return f"paired by seed: {why}"
    return "paired by seed, as planned" if claim.paired else ""


@singledispatch
def _measure(claim: Measured, results: StudyResults) -> Effect:
    raise NotImplementedError(type(claim))


@_measure.register(Difference)
@_measure.register(NonInferiority)
def _(claim: Difference | NonInferiority, results: StudyResults) -> Effect:
    comparison = compare_arms(claim, claim.contrast, results)
    _check_varies(comparison.standard_error)
    return comparison


@_measure.register
def _(claim: BestCell, results: StudyResults) -> Effect:
    lead = Lead({rival: compare_arms(claim, {claim.best: 1, rival: -1}, results) for rival in claim.others})
    _check_varies(lead.standard_error)
    return lead


@_measure.register
def _(claim: Reach, results: StudyResults) -> Effect:
    costs = {arm: costs_to_target(claim, arm, results) for arm in (claim.faster, claim.slower)}
    paired = seed_by_seed(claim, costs, results)
    ratio = cost_ratio(costs[claim.faster], costs[claim.slower], paired=paired)
    if isinstance(ratio, SeenRatio):
        _check_varies(ratio.standard_error)
    return ratio


def compare_arms(claim: Measured, weights: Mapping[str, float], results: StudyResults) -> Comparison:
    """The weighted sum of arms' scores on the claim's scale, positive in the claimed direction."""
    cells = {arm: results.on_scale(claim, arm) for arm in weights}
    by_prompt = next(iter(cells.values())).ndim == 2
    tasks, texts = (known.get(claim.metric) if by_prompt else None for known in (results.tasks, results.texts))
    signed = {arm: claim.sign * weight for arm, weight in weights.items()}
    return contrast(cells, signed, tasks=tasks, texts=texts, paired=seed_by_seed(claim, cells, results))


def seed_by_seed(claim: Measured, runs: Mapping[str, Sized], results: StudyResults) -> bool:
    """Whether arms are compared seed by seed, which takes the same seeds of all of them.

    Seeds that only some arms have are not dropped: a run that is missing is seldom like those that are there.
    """
    by_seed = len(runs) > 2 or bool(pairing(claim, results))
    counts = {arm: len(values) for arm, values in runs.items()}
    if by_seed and len(set(counts.values())) > 1:
        had = ", ".join(f"{arm} has {count}" for arm, count in counts.items())
        raise Untestable(f"its arms are compared seed by seed and have different seeds: {had}")
    return by_seed


def costs_to_target(claim: Reach, arm: str, results: StudyResults) -> list[CostBounds]:
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
