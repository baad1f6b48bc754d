"""How often is a warning said beside a verdict: of normal runs, and where the t interval does not hold?

Pairs of arms with scores by run, and four arms against four compared by seed. For each case: how many of the
intervals at 95 % cover the true difference, how often the arms are called skewed and a seed collapsed
(`unimm.analysis.doubts`; the smallest effect of interest is 0 here), and how many intervals of the studies without
any warning cover. A warning cannot be seen in the runs that a small study did not draw: three runs of a skewed arm
that happen to lie close together look tight. What is said then is nothing, and the interval misses.

Last, ratios of costs with censored curves: the arms' costs are lognormal (s = 0.3 and, where unequal, 0.9), the slower
one takes twice as much, and each run that needs more than a budget is only bounded, which is always said.

    python experiments/simulations/warnings_beside_verdicts.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, log

import numpy as np
from scipy import stats
from tables import Table, main, percent

from unimm.analysis.doubts import collapsed, skewed
from unimm.analysis.reach import CostBounds, Speedup, cost_ratio

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SEEDS, ARMS = (3, 5, 10), "abcdefgh"
PAIR = {"a": 1.0, "b": -1.0}
EIGHT = {arm: 0.25 if arm in "abcd" else -0.25 for arm in ARMS}


def normal(mean: float, sd: float) -> Draw:
    """Normal runs."""
    return lambda rng, shape: rng.normal(mean, sd, shape)


def lognormal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Runs whose logarithms have standard deviation 0.7."""
    return rng.lognormal(0, 0.7, shape)


def near_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Fractions near 0, most of them tiny."""
    return rng.beta(0.5, 16, shape)


def ties(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Four runs in five exactly at the floor."""
    return np.where(rng.random(shape) < 0.8, 0, rng.beta(2, 20, shape))


def failing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One run in ten 6 standard deviations below the others."""
    return rng.normal(20, 1, shape) - 6 * (rng.random(shape) < 0.1)


# Case -> both arms, and their true difference.
PAIRS: Mapping[str, tuple[Draw, Draw, float]] = {
    "normal, alike": (normal(0.5, 0.05), normal(0.5, 0.05), 0),
    "normal, sd 1:3": (normal(0.5, 0.02), normal(0.5, 0.06), 0),
    "normal, 4 sd from 0": (normal(0.2, 0.05), normal(0.2, 0.05), 0),
    "normal, 4 sd from 0, against a tight arm": (normal(0.2, 0.05), normal(0.2, 0.005), 0),
    "lognormal against a tight arm": (lognormal, normal(1, 0.05), exp(0.245) - 1),
    "near 0 against a tight arm": (near_zero, normal(0.5, 0.004), 0.5 / 16.5 - 0.5),
    "80 % at the floor against a tight arm": (ties, normal(0.5, 0.004), 0.2 * 2 / 22 - 0.5),
    "both near 0": (near_zero, near_zero, 0),
    "one run in ten collapses": (failing, normal(20, 1), -0.6),
}


def of_pairs(a: Draw, b: Draw, truth: float, seeds: int, studies: int) -> list[str]:
    """A row of two arms."""
    rng = np.random.default_rng(seeds)
    runs = a(rng, (studies, seeds)), b(rng, (studies, seeds))
    interval = stats.ttest_ind(*runs, axis=1, equal_var=False).confidence_interval(0.95)
    named = [dict(zip("ab", each, strict=True)) for each in zip(*runs, strict=True)]
    said = np.array([(bool(skewed(each, PAIR)), bool(collapsed(each))) for each in named])
    return _row((interval.low <= truth) & (truth <= interval.high), said)


def of_eight(lost: bool, seeds: int, studies: int) -> list[str]:
    """A row of four arms against four, which all lose one seed in ten by 6 standard deviations, if at all."""
    rng = np.random.default_rng(seeds)
    runs = rng.normal(20, 1, (studies, 8, seeds))
    if lost:
        runs[:, 4:] -= 6 * (rng.random((studies, 1, seeds)) < 0.1)
    values, truth = np.einsum("nas,a->ns", runs, list(EIGHT.values())), 0.6 * lost
    interval = stats.ttest_1samp(values, 0, axis=1).confidence_interval(0.95)
    pairs = [
        (bool(skewed(dict(zip(ARMS, each, strict=True)), EIGHT)), bool(collapsed({"z": z})))
        for each, z in zip(runs, values, strict=True)
    ]
    return _row((interval.low <= truth) & (truth <= interval.high), np.array(pairs))


def of_costs(spreads: tuple[float, float], budget: float, seeds: int, studies: int) -> list[str]:
    """A row of censored costs: a run that pays more than `budget` is known to do just that."""
    rng = np.random.default_rng(seeds)
    logs = [rng.normal(mean, sd, (studies, seeds)) for mean, sd in zip((0, log(2)), spreads, strict=True)]
    covers, said = [], []
    for faster, slower in zip(*map(np.exp, logs), strict=True):
        arms = [[CostBounds(min(c, budget), np.inf if c > budget else c) for c in arm] for arm in (faster, slower)]
        ratio = cost_ratio(*arms)
        low, high = ratio.interval(0.05)
        covers.append(low <= log(2) <= high)
        said.append((False, isinstance(ratio, Speedup)))
    return _row(np.array(covers), np.array(said))


def _row(covers: np.ndarray, said: np.ndarray) -> list[str]:
    silent = ~said.any(1)
    left = percent(covers[silent].mean()) if silent.mean() > 0.01 else "-"
    return [percent(covers.mean()), percent(said[:, 0].mean()), percent(said[:, 1].mean()), left]


def table(studies: int) -> Table:
    """All cases by seeds."""
    rows = [[case, str(seeds), *of_pairs(*each, seeds, studies)] for case, each in PAIRS.items() for seeds in SEEDS]
    for case, lost in (("4 against 4, normal", False), ("4 against 4, one seed in ten of one side collapses", True)):
        rows += [[case, str(seeds), *of_eight(lost, seeds, studies)] for seeds in SEEDS]
    for case, spreads in (("censored costs", (0.3, 0.3)), ("censored costs, sd 1:3", (0.3, 0.9))):
        rows += [[case, str(seeds), *of_costs(spreads, 2.5, seeds, studies)] for seeds in SEEDS]
    return [
        "runs",
        "seeds",
        "covers (%)",
        "skewed (%)",
        "collapsed or censored (%)",
        "covers without a warning (%)",
    ], rows


if __name__ == "__main__":
    main(table, "Intervals at 95 % and the warnings beside them.", studies=2000)
