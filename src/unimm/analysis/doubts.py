"""Where a verdict's interval is known to be too narrow: skewed scores at an end, a seed that collapsed, censored costs.

t intervals hold for means that are about normal. Three things that studies show break them, and each is a sentence
beside the verdict, which stays as it is:

    skewed     an arm whose sd is more than half of its mean's distance from an end of the scale cannot be normal: two
               sd further there is nothing. Skew of one sign does not cancel where such arms make most of the
               variance,
               | sum_k sign(c_k) side_k v_k / sum_k v_k | >= SKEWED, side = 1 at the lower end and -1 at the upper one.
               The lower end is 0 where no score is negative, the upper one 1 if besides none is above 1. An arm whose
               runs all lie on the end hides its spread altogether.
    collapsed  Grubbs' test: the largest |y - mean| / sd among the runs of an arm (where arms are compared by seed:
               among the contrast's values) is larger than in 3 studies of 100 with normal runs, whatever their
               spread, and the run is farther from the others than the smallest effect of interest. Three runs cannot
               show it: two that happen to be equal make the third one as far as can be.
    censored   the cost of a run is only bounded, so that ranks decide instead of a t interval.

How often each is said, of normal runs and where intervals fail, is in
`experiments/simulations/warnings_beside_verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unimm.analysis.claims import BestCell, Difference, Measured, NonInferiority, Reach
from unimm.analysis.measure import costs_to_target, seed_by_seed
from unimm.analysis.results import StudyResults

Array = NDArray[np.float64]

SKEWED = 0.8
FALSE_ALARMS = 0.03
ENOUGH = 4


@singledispatch
def doubts(claim: Measured, results: StudyResults) -> tuple[str, ...]:
    """Sentences on what makes the interval of a claim that has one doubtful; none as a rule."""
    raise NotImplementedError(type(claim))


@doubts.register(Difference)
@doubts.register(NonInferiority)
def _(claim: Difference | NonInferiority, results: StudyResults) -> tuple[str, ...]:
    weights = {arm: weight for arm, weight in claim.contrast.items() if weight}
    runs = {arm: results.by_run(claim, arm) for arm in weights}
    series = {"the contrast by seed": _by_seed(runs, weights)} if seed_by_seed(claim, runs, results) else runs
    return _of_means(claim, runs, [weights], series, results.row)


@doubts.register
def _(claim: BestCell, results: StudyResults) -> tuple[str, ...]:
    runs = {arm: results.by_run(claim, arm) for arm in (claim.best, *claim.others)}
    rivals = {rival: {claim.best: 1.0, rival: -1.0} for rival in claim.others}
    series = {
        f"the difference from {rival}": _by_seed(runs, weights)
        for rival, weights in rivals.items()
        if seed_by_seed(claim, {arm: runs[arm] for arm in weights}, results)
    }
    return _of_means(claim, runs, list(rivals.values()), series if len(series) == len(rivals) else runs, results.row)


def _by_seed(runs: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The contrast in each seed, `[seeds]`."""
    total: Array = np.sum([weight * runs[arm] for arm, weight in weights.items()], axis=0)
    return total


@doubts.register
def _(claim: Reach, results: StudyResults) -> tuple[str, ...]:
    sentences = []
    rows = "draws" if results.seeds_a_draw > 1 else "runs"
    for arm in (claim.faster, claim.slower):
        costs = costs_to_target(claim, arm, results)
        bounded = sum(run.low != run.high for run in costs)
        if bounded:
            sentences.append(
                f"What {bounded} of {len(costs)} {rows} of {arm} paid is only bounded and counts with its bound, so "
                "that the ratio may be larger or smaller than estimated"
            )
    return tuple(sentences)


def _of_means(
    claim: Measured,
    runs: Mapping[str, Array],
    contrasts: Sequence[Mapping[str, float]],
    series: Mapping[str, Array],
    unit: str,
) -> tuple[str, ...]:
    """What is said of differences of means.

    `runs` are scores by arm, a row a `unit` (seed or draw), `series` what has to look normal, by name.
    """
    stuck = [] if claim.is_ratio else list(dict.fromkeys(arm for each in contrasts for arm in skewed(runs, each)))
    sentences = []
    if stuck:
        sentences.append(
            f"The runs of {', '.join(stuck)} reach to an end of the scale, so that they are skewed or hide their "
            "spread: the interval may be too narrow"
        )
    for name, row in collapsed(series).items():
        value, others = series[name][row], np.delete(series[name], row).mean()
        if abs(value - others) < claim.margin:
            continue
        shown = [f"{claim.in_units(float(number)):.3g}" for number in (value, others)]
        sentences.append(
            f"One {unit} of {name} lies far from its others ({shown[0]}, they at {shown[1]} on average): if seeds "
            "fail now and then, the interval is too narrow"
        )
    return tuple(sentences)


def skewed(runs: Mapping[str, Array], weights: Mapping[str, float]) -> list[str]:
    """The arms at an end of the scale, if they make the contrast's interval doubtful; scores by arm, `[seeds]` each."""
    seen = np.concatenate([runs[arm] for arm in weights])
    if seen.min() < 0:
        return []
    sides = {arm: _side(runs[arm], bounded=seen.max() <= 1) for arm in weights}
    parts = {arm: weight**2 * runs[arm].var(ddof=1) / len(runs[arm]) for arm, weight in weights.items()}
    hidden = [arm for arm in weights if sides[arm] and parts[arm] == 0]
    pull = abs(sum(np.sign(weights[arm]) * sides[arm] * parts[arm] for arm in weights))
    return [arm for arm in weights if sides[arm]] if pull >= SKEWED * sum(parts.values()) > 0 else hidden


def _side(values: Array, *, bounded: bool) -> int:
    """1 if the runs reach down to 0, -1 if they reach up to 1, else 0."""
    sd, mean = values.std(ddof=1), values.mean()
    if 2 * sd > mean or mean == 0:
        return 1
    return -1 if bounded and (2 * sd > 1 - mean or mean == 1) else 0


def collapsed(series: Mapping[str, Array]) -> dict[str, int]:
    """Name -> the row that lies far from the others, for the series that have one; values by name, `[seeds]` each."""
    found = {}
    for name, values in series.items():
        if len(values) < ENOUGH:
            continue
        away, sd = np.abs(values - values.mean()), values.std(ddof=1)
        if away.max() > grubbs_limit(len(values), FALSE_ALARMS / len(series)) * sd > 0:
            found[name] = int(away.argmax())
    return found


def grubbs_limit(count: int, alpha: float) -> float:
    """What the largest |value - mean| / sd of `count` normal values exceeds with probability alpha (Grubbs 1969)."""
    t = float(stats.t.isf(alpha / (2 * count), count - 2))
    return (count - 1) / sqrt(count) * sqrt(t**2 / (count - 2 + t**2))
