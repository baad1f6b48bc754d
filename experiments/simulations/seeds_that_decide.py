"""What does "about N seeds an arm decide" mean?

An open study of two arms with 3 seeds names a number N. A new study of N seeds then has its chance to decide (to
support, contradict or call the claim negligible), which is simulated twice: with the true effect and spread that the
first study estimated, as the sentence says, and with those that really made it. Before, N was where the half-width of
an interval with the same estimate and spread would just exclude the border, so that a new estimate does so one time
in two. Now it is where 80 % of new studies do, if effect and spread are as estimated. They are not: an open study's
estimate is a rough one.

    python experiments/simulations/seeds_that_decide.py
"""

from __future__ import annotations

from math import ceil, inf

import numpy as np
from scipy import optimize, stats
from tables import Table, main, percent

from unimm.analysis.claims import Claims, Difference
from unimm.analysis.contrast import compare
from unimm.analysis.verdicts import Levels, Outcome, outcome_of, seeds_to_decide

SEEDS, LEVELS, EFFECTS, MARGIN = 3, Levels(0.025, 0.025), (0.0, 1.0, 2.0, 4.0), 1.0
AGAIN = 40  # new studies of each
CLAIM = Claims.model_validate(
    {
        "alpha": 0.05,
        "claims": [
            {"id": "it", "text": "a is ahead.", "kind": "difference", "role": "primary", "metric": "m"}
            | {"direction": "higher", "budget": "flops", "contrast": {"a": 1, "b": -1}, "smallest_effect": MARGIN}
        ],
    }
).claims[0]


def seeds_before(estimate: float, error: float, df: float) -> int:
    """Seeds at which the half-width, were the estimate and spread to stay, excludes the nearest border that it can."""
    target = max(abs(estimate), MARGIN - abs(estimate))

    def excess(n: float) -> float:
        scale = (n - 1) / (SEEDS - 1)
        return float(stats.t.isf(LEVELS.direction / 2, df * scale)) * error * (SEEDS / n) ** 0.5 - target

    enough = 2.0 * SEEDS
    while excess(enough) > 0:
        enough *= 2
    return max(SEEDS + 1, ceil(float(optimize.brentq(excess, SEEDS, enough)))) if excess(SEEDS) > 0 else SEEDS + 1


def decided(rng: np.random.Generator, seeds: int, effect: float, spreads: tuple[float, float]) -> float:
    """How often a new study of so many seeds decides."""
    a, b = (rng.normal(mean, sd, (AGAIN, seeds)) for mean, sd in zip((effect, 0), spreads, strict=True))
    interval = stats.ttest_ind(a, b, axis=1, equal_var=False).confidence_interval(1 - LEVELS.direction)
    ends = zip(interval.low, interval.high, strict=True)
    return float(np.mean([outcome_of(CLAIM, each, each) is not Outcome.INCONCLUSIVE for each in ends]))


def table(studies: int) -> Table:
    """Median numbers of seeds, and how often they decide."""
    assert isinstance(CLAIM, Difference)
    rows = []
    for effect in EFFECTS:
        rng = np.random.default_rng(int(effect))
        found: list[tuple[float, ...]] = []
        while len(found) < studies:
            a, b = rng.normal(effect, 1, SEEDS), rng.normal(0, 1, SEEDS)
            first = compare(a, b)
            interval = first.interval(LEVELS.direction)
            if outcome_of(CLAIM, interval, interval) is not Outcome.INCONCLUSIVE:
                continue
            before = seeds_before(first.estimate, first.standard_error, first.df)
            now = seeds_to_decide(CLAIM, first, LEVELS) or inf
            seen = float(a.std(ddof=1)), float(b.std(ddof=1))
            numbers = [min(int(n), 2000) for n in (before, now)]
            as_estimated = [decided(rng, n, first.estimate, seen) for n in numbers]
            in_truth = [decided(rng, n, effect, (1, 1)) for n in numbers]
            found.append((*numbers, *as_estimated, *in_truth))
        columns = np.array(found)
        shares = columns[:, 2:].mean(0)
        rows.append([f"{effect:g}", *(f"{n:.0f}" for n in np.median(columns[:, :2], axis=0)), *map(percent, shares)])
    headers = ["true effect (sd)", "median N before", "median N now", "as estimated: decides before (%)"]
    return [*headers, "decides now (%)", "in truth: decides before (%)", "decides now (%)"], rows


if __name__ == "__main__":
    note = f"Open studies of 3 seeds, margin 1 sd, level {LEVELS.direction}; each with {AGAIN} new studies of N seeds."
    main(table, note, studies=300)
