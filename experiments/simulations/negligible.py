"""How often is an effect that just matters called negligible?

Six primary claims about six pairs of arms. The effects of `at` of them lie exactly at the margin, where "negligible"
is wrong; the others are so large that Holm's procedure rejects them and leaves the rest its wider levels. The share
of studies in which any claim at the margin is called negligible, on the interval of Holm's level, as it was, and at
alpha / m, as it is.

    python experiments/simulations/negligible.py
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from tables import Table, main, percent

from unimm.analysis.verdicts import holm

CLAIMS, ALPHA, MARGIN = 6, 0.05, 3.0
CASES = [(3, 6), (5, 6), (10, 6), (10, 1), (10, 3), (20, 6)]


def wrong(seeds: int, at: int, studies: int) -> tuple[float, float]:
    """The share before and after."""
    rng = np.random.default_rng(seeds)
    effects = np.where(np.arange(CLAIMS) < at, MARGIN, 100.0)
    a, b = rng.normal(size=(2, studies, CLAIMS, seeds)) + np.stack([effects, np.zeros(CLAIMS)])[:, None, :, None]
    test = stats.ttest_ind(a, b, axis=2, equal_var=False)
    estimate, error, df = a.mean(2) - b.mean(2), (a.mean(2) - b.mean(2)) / test.statistic, test.df
    by_holm = np.array([holm(p, ALPHA).levels for p in test.pvalue])

    def any_negligible(levels: np.ndarray | float) -> float:
        half = stats.t.isf(np.asarray(levels) / 2, df) * error
        inside = (estimate - half > -MARGIN) & (estimate + half < MARGIN)
        return float(np.mean(inside[:, :at].any(1)))

    return any_negligible(by_holm), any_negligible(ALPHA / CLAIMS)


def table(studies: int) -> Table:
    """By seeds and by how many claims lie at the margin."""
    rows = [[str(seeds), str(at), *map(percent, wrong(seeds, at, studies))] for seeds, at in CASES]
    return ["seeds", "claims at the margin", "on Holm's level (%)", "at alpha / 6 (%)"], rows


if __name__ == "__main__":
    note = "Studies with any claim at the margin wrongly called negligible; six claims, alpha 5 %."
    main(table, note, studies=20_000)
