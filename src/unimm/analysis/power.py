"""What a study can find, before it runs: half-widths, smallest detectable effects, seeds that would decide.

For a contrast with weights c_k over arms of S seeds and one seed standard deviation sd, the standard error is
sd * sqrt(sum_k c_k^2 / S), with df = 2 (S - 1) for a pair and S - 1 for more arms, which are compared seed by seed
(`unimm.analysis.contrast`). Power is that of the noncentral t distribution. All numbers are for scores by run, of arms
that share nothing; prompts add to them, and so does what the arms of a seed share.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, comb, hypot, sqrt

from scipy import optimize, stats

PAIR = (1.0, -1.0)


def half_width(seeds: int, *, sd: float = 1.0, alpha: float = 0.05, weights: Sequence[float] = PAIR) -> float:
    """Half-width of the interval at level 1 - alpha, in the unit of `sd`."""
    return float(stats.t.isf(alpha / 2, _df(seeds, weights))) * _standard_error(seeds, sd, weights)


def minimum_detectable_effect(
    seeds: int, *, sd: float = 1.0, alpha: float = 0.05, power: float = 0.8, weights: Sequence[float] = PAIR
) -> float:
    """Smallest true effect that a two-sided test at alpha finds with probability `power`, in the unit of `sd`."""
    df = _df(seeds, weights)
    critical = float(stats.t.isf(alpha / 2, df))

    def excess(noncentrality: float) -> float:
        return float(stats.nct.sf(critical, df, noncentrality) - power)

    found = optimize.brentq(excess, 0.0, 4 * critical + 4)
    return float(found) * _standard_error(seeds, sd, weights)


def seeds_needed(
    seeds: int, standard_error: float, df: float, target: float, *, alpha: float, lasting_error: float = 0.0
) -> int | None:
    """Seeds an arm at which the half-width at level 1 - alpha would shrink to `target`; None if no number would do.

    With n seeds instead of `seeds` the standard error falls by sqrt(seeds / n) and degrees of freedom grow as n - 1:
    with 3 seeds most of an interval's width is the t distribution's, which a few seeds more take away. What they do not
    take away is `lasting_error`, the prompts' share of the standard error.
    """
    if float(stats.norm.isf(alpha / 2)) * lasting_error >= target:
        return None
    shrinking = standard_error**2 - lasting_error**2

    def excess(n: float) -> float:
        t = float(stats.t.isf(alpha / 2, df * (n - 1) / (seeds - 1)))
        return t * sqrt(shrinking * seeds / n + lasting_error**2) - target

    if excess(seeds) <= 0:
        return seeds
    enough = 2.0 * seeds
    while excess(enough) > 0:
        enough *= 2
    return ceil(float(optimize.brentq(excess, seeds, enough)) - 1e-9)


def smallest_rank_p(seeds: int) -> float:
    """Smallest two-sided p-value that an exact rank test of two arms with `seeds` runs each can reach."""
    return 2 / comb(2 * seeds, seeds)


def _standard_error(seeds: int, sd: float, weights: Sequence[float]) -> float:
    return sd * hypot(*weights) / sqrt(seeds)


def _df(seeds: int, weights: Sequence[float]) -> int:
    if seeds < 2:
        raise ValueError(f"{seeds} seed says nothing about how seeds vary; plan for 2 or more")
    return (2 if len(weights) == 2 else 1) * (seeds - 1)
