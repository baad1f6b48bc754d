"""Secondary displays of runs, as in Agarwal et al. (2021), "Deep RL at the edge of the statistical precipice".

Descriptions, not tests: with 3 to 5 seeds an interquartile mean is just a trimmed mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """Chance that a run of `a` beats a run of `b`, ties counting half, averaged over tasks.

    `a` and `b` are `[seeds]` or `[seeds, tasks]`, higher is better.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    wins = stats.mannwhitneyu(first, second, axis=0, method="asymptotic").statistic
    return float(np.mean(wins) / (len(first) * len(second)))


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all runs and tasks together; `scores` has any shape."""
    return float(stats.trim_mean(np.asarray(scores, dtype=float), 0.25, axis=None))


def coefficient_of_variation(scores: ArrayLike) -> float:
    """Standard deviation over seeds as a fraction of the mean; `scores` is `[seeds]`."""
    values: NDArray[np.float64] = np.asarray(scores, dtype=float)
    return float(values.std(ddof=1) / abs(values.mean()))
