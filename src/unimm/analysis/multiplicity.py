"""Many claims at once: Holm for the primary ones, Benjamini and Hochberg for the exploratory ones.

Both return, beside adjusted p-values, the level at which each claim's own interval agrees with the decision: the
interval at 1 - level excludes the null value exactly when the claim is rejected.

Holm (1979) keeps the chance of any wrong rejection at alpha. With p-values in ascending order and m claims, the i-th
(from 0) has level alpha / (m - i) as long as all so far are rejected; claims retained share alpha / (m - rejected).
The decisions are simultaneous, the sizes of effects read off these intervals are not: for those use alpha / m.

Benjamini and Hochberg (1995) keep the expected share of wrong ones among the rejected at alpha. Every claim has level
max(rejected, 1) * alpha / m: the false coverage rate intervals of Benjamini and Yekutieli (2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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
