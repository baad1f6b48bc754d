"""What a study can find, before it runs: half-widths, smallest detectable effects, seeds that would decide.

For a contrast with weights c_k over arms of S seeds and one seed standard deviation sd, the standard error is
sd * sqrt(sum_k c_k^2 / S) with df = K (S - 1). Power is that of the noncentral t distribution. All numbers are for
scores by run; prompts add to them.
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


def seeds_needed(seeds: int, half_width: float, smallest_effect: float) -> int:
    """Seeds an arm at which a half-width seen with `seeds` would shrink to the smallest effect of interest."""
    return ceil(seeds * (half_width / smallest_effect) ** 2)


def smallest_rank_p(seeds: int) -> float:
    """Smallest two-sided p-value that an exact rank test of two arms with `seeds` runs each can reach."""
    return 2 / comb(2 * seeds, seeds)


def _standard_error(seeds: int, sd: float, weights: Sequence[float]) -> float:
    return sd * hypot(*weights) / sqrt(seeds)


def _df(seeds: int, weights: Sequence[float]) -> int:
    if seeds < 2:
        raise ValueError(f"{seeds} seed says nothing about how seeds vary; plan for 2 or more")
    return len(weights) * (seeds - 1)
