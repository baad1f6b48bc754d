"""Standard errors over prompts: images of one prompt are no independent measurements.

A mean, or a mean of K parts' means (as GenEval's overall score is), is a sum of what each image contributes to it,

    u_i = sum over the parts k that image i belongs to of (x_ki - mean_k) / (K n_k),

and its standard error adds up what the G clusters (prompts) contribute: SE^2 = G / (G - 1) sum_c (sum_{i in c} u_i)^2
(Liang and Zeger 1986; Miller 2024, arXiv 2411.00640). With one image a prompt and one part that is s / sqrt(n). It is
about other prompts of the kind and other noise, with this one trained model: it says nothing of other training seeds,
on which verdicts rest.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def clustered(items: Sequence[float | None], clusters: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of the items that are there; None with fewer than two clusters."""
    return clustered_mean([items], clusters)


def clustered_mean(parts: Sequence[Sequence[float | None]], clusters: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of the parts' means; each part has one item (or None) for every cluster label.

    None with fewer than two clusters, where a part has no item at all, and where no item varies: a score of exactly 0
    or 1 on a few images does not tell how far off it may be.
    """
    values = np.array(parts, dtype=float)
    there = ~np.isnan(values)
    if not there.any(axis=1).all():
        return None
    centred = (values - np.nanmean(values, axis=1, keepdims=True)) / there.sum(axis=1, keepdims=True)
    totals: dict[Hashable, float] = {}
    for cluster, share, measured in zip(clusters, np.nansum(centred, axis=0), there.any(axis=0), strict=True):
        if measured:
            totals[cluster] = totals.get(cluster, 0.0) + float(share) / len(parts)
    number, spread = len(totals), sum(total**2 for total in totals.values())
    # Equal items whose mean is rounded leave a spread of rounding errors.
    varies = bool((np.nanmax(values, axis=1) > np.nanmin(values, axis=1)).any())
    return float(np.sqrt(number / (number - 1) * spread)) if number > 1 and spread > 0 and varies else None
