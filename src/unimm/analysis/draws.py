"""Seeds that stand on draws of the foundation: seeds on one draw share what it does, so that draws are what counts.

A study that deals D draws of the pretrained parts to its seeds, k seeds each, has for seed j on draw d the contrast

    Z_dj = mu + B_d + e_dj,    var(mean of Z) = var(B) / D + var(e) / (D k).

Counted one by one, the D k seeds make the first term about k times too small: where draws make all of the spread, an
interval over 6 seeds on 3 draws covers 75 % instead of 95 %. The D means of draws are independent with D times that
variance each, so that their t interval with D - 1 degrees of freedom holds whatever the two variances are (one-way
random effects, groups of one size; Searle, Casella and McCulloch 1992, chapter 3). With a seed a draw they are the
seeds themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def by_draw(draws: Sequence[str], rows: Array) -> Array:
    """Means over the seeds of every draw, `[draws, ...]`, draws in the order in which they first come.

    Args:
        draws: the draw of every seed; empty where all seeds stand on one foundation, whose rows stay as they are.
        rows: `[seeds, ...]`.
    """
    if not draws:
        return rows
    own = np.array(draws)
    means: Array = np.array([rows[own == draw].mean(axis=0) for draw in dict.fromkeys(draws)])
    return means
