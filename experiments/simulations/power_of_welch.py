"""Does a study find what `unimm study power` says it finds four times in five?

Two arms of S seeds with normal scores, and the effect that is promised to be found in 80 % of studies at the level of
a primary claim of six: by Student's degrees of freedom, 2 (S - 1), as the command took them, and by the power of
Welch's test, as it takes them now, which knows unequal spreads where pilots show them. Eight arms, four against four,
are compared seed by seed; what the arms of one side share is in the promise where pilots show it.

    python experiments/simulations/power_of_welch.py
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy import optimize, stats
from tables import Table, main, percent

from unimm.analysis.power import Spread, minimum_detectable_effect

LEVEL, PROMISED = 0.05 / 6, 0.8
PAIRS = [(3, (1.0, 1.0)), (3, (1.0, 3.0)), (5, (1.0, 1.0)), (5, (1.0, 3.0)), (10, (1.0, 1.0)), (10, (1.0, 3.0))]
EIGHT = [(3, 0.0), (3, 2.0), (5, 2.0)]


def students_promise(seeds: int, variance: float, df: int) -> float:
    """The effect that a t test with known degrees of freedom finds in 80 %; `variance` is that of one seed."""
    critical = float(stats.t.isf(LEVEL / 2, df))
    found = optimize.brentq(lambda shift: stats.nct.sf(critical, df, shift) - PROMISED, 0, 4 * critical + 4)
    return float(found) * sqrt(variance / seeds)


def found_by_welch(effect: float, seeds: int, spreads: tuple[float, float], studies: int) -> float:
    """How often Welch's test finds the effect."""
    rng = np.random.default_rng(seeds)
    a, b = (rng.normal(mean, sd, (studies, seeds)) for mean, sd in zip((effect, 0), spreads, strict=True))
    test = stats.ttest_ind(a, b, axis=1, equal_var=False)
    return float(np.mean((test.pvalue <= LEVEL) & (test.statistic > 0)))


def found_by_seed(effect: float, seeds: int, shared: float, studies: int) -> float:
    """How often the seed-by-seed test of four arms against four finds it, the second four sharing `shared` a seed."""
    rng = np.random.default_rng(seeds)
    runs = rng.normal(size=(studies, 8, seeds))
    runs[:, :4] += effect
    runs[:, 4:] += shared * rng.normal(size=(studies, 1, seeds))
    test = stats.ttest_1samp(runs[:, :4].mean(1) - runs[:, 4:].mean(1), 0, axis=1)
    return float(np.mean((test.pvalue <= LEVEL) & (test.statistic > 0)))


def table(studies: int) -> Table:
    """Promised effects, and how often they are found."""
    rows = []
    for seeds, spreads in PAIRS:
        variances = (spreads[0] ** 2, spreads[1] ** 2)
        before = students_promise(seeds, sum(variances), 2 * (seeds - 1))
        after = minimum_detectable_effect(seeds, alpha=LEVEL, spread=Spread(variances))
        found = [percent(found_by_welch(effect, seeds, spreads, studies)) for effect in (before, after)]
        rows.append([f"pair, spreads {spreads[0]:g} and {spreads[1]:g}", str(seeds), f"{before:.2f}", found[0]])
        rows[-1] += [f"{after:.2f}", found[1]]
    for seeds, shared in EIGHT:
        before = students_promise(seeds, 0.5, seeds - 1)
        after = minimum_detectable_effect(seeds, alpha=LEVEL, spread=Spread((0.5 + shared**2,)))
        found = [percent(found_by_seed(effect, seeds, shared, studies)) for effect in (before, after)]
        rows.append([f"four against four, {shared:g} shared", str(seeds), f"{before:.2f}", found[0]])
        rows[-1] += [f"{after:.2f}", found[1]]
    return ["contrast", "seeds", "effect promised before", "found (%)", "effect promised now", "found (%)"], rows


if __name__ == "__main__":
    note = "Effects in standard deviations between seeds, promised to be found in 80 % of studies at level 0.0083."
    main(table, note, studies=40_000)
