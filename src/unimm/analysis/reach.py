"""How much sooner one arm reaches a preset score than another, when some runs never do.

Where every run was seen to cross, costs are compared as scores by run are: Welch's t interval on their logarithms, to
which 3 seeds suffice. Otherwise some run's cost is only bounded: it crossed before its first checkpoint, or not by its
last (censored). Dropping such runs would favour slow arms, and a mean needs numbers that they lack, so the ratio of
costs is then read from ranks: of all pairs of runs, D_ij = log(cost of slower_j) - log(cost of faster_i) lies in a
known range [lo, hi], and the Hodges-Lehmann interval

    [C-th smallest lo, C-th largest hi],  C = #{u : P(U <= u) <= alpha / 2},  U the Mann-Whitney statistic

holds for any distribution of costs. It is unbounded when alpha asks for more than so few seeds can give: the claim
stays open. Arms that are paired by seed have one D a seed, and W, the signed-rank statistic of the S (S + 1) / 2 means
of two of them (Walsh averages), stands in U's place; that asks for D to be symmetric around its centre, and for 6 seeds
at 5 % where U needs 4. That the runs themselves choose between the two does no harm: simulated, intervals at 95 % cover
94 to 99 % whatever share of runs is censored, for lognormal costs (88 % for strongly skewed ones of unequal spread).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from unimm.analysis.contrast import Comparison, contrast
from unimm.analysis.power import USUAL, Room, smallest_rank_p

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CostBounds:
    """Bounds on what a run paid to reach the target; equal when it was seen, `high` infinite when it never was."""

    low: float
    high: float


def cost_to_reach(costs: ArrayLike, scores: ArrayLike, target: float) -> CostBounds:
    """Cost of the first crossing that the next checkpoint confirms, log-linear between checkpoints.

    Args:
        costs: samples or FLOPs so far at each checkpoint, `[checkpoints]`, ascending and positive.
        scores: score at each checkpoint, `[checkpoints]`, higher is better.
        target: the score to reach.

    Raises:
        ValueError: shapes that differ, costs that do not ascend, or NaN.
    """
    x, y = np.asarray(costs, dtype=float), np.asarray(scores, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"a curve needs 2 or more checkpoints with one score each; got {x.shape} and {y.shape}")
    if not (x[0] > 0 and (np.diff(x) > 0).all() and np.isfinite(y).all()):
        raise ValueError("a curve needs positive, ascending costs and finite scores")
    there = y >= target
    first = int(np.argmax(there & np.append(there[1:], True)))
    if not there[first]:
        return CostBounds(float(x[-1]), np.inf)
    if first == 0:
        return CostBounds(0.0, float(x[0]))
    part = (target - y[first - 1]) / (y[first] - y[first - 1])
    crossed = float(np.exp(np.log(x[first - 1]) + part * np.log(x[first] / x[first - 1])))
    unconfirmed = first == len(x) - 1
    return CostBounds(crossed, np.inf if unconfirmed else crossed)


def cost_ratio(
    faster: Sequence[CostBounds], slower: Sequence[CostBounds], *, paired: bool = False
) -> SeenRatio | Speedup:
    """Logarithm of slower / faster: a t interval if every run was seen to cross, else one from ranks.

    Raises:
        ValueError: `paired` arms, whose runs are matched by place, that differ in seeds.
    """
    arms = {"slower": slower, "faster": faster}
    if any(run.low != run.high for arm in arms.values() for run in arm):
        return PairedSpeedup(faster, slower) if paired else Speedup(faster, slower)
    logs = {name: np.log([run.low for run in arm]) for name, arm in arms.items()}
    return SeenRatio(**vars(contrast(logs, {"slower": 1, "faster": -1}, paired=paired)))


@dataclass(frozen=True)
class SeenRatio(Comparison):
    """Difference of two arms' mean log costs; its interval is Welch's, or that of pairs."""

    @property
    def note(self) -> str:
        """All of them."""
        return "target reached by every run"


@dataclass(frozen=True)
class Speedup:
    """Ratio of two arms' costs of reaching a target, as its natural logarithm; one `CostBounds` a run."""

    faster: Sequence[CostBounds]
    slower: Sequence[CostBounds]

    @property
    def estimate(self) -> float:
        """Median of log(slower / faster) over pairs of runs, a run that was not seen to cross at its known bound."""
        low, high = self._pairs()
        return float(np.median(np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))))

    @property
    def n_seeds(self) -> int:
        """Runs of the arm with the fewest."""
        return min(len(self.faster), len(self.slower))

    @property
    def n_items(self) -> None:
        """Runs give one cost each."""
        return None

    @property
    def n_texts(self) -> None:
        """And so no texts."""
        return None

    @property
    def note(self) -> str:
        """How many runs of either arm were seen to reach the target, and what follows."""
        parts = [f"{sum(np.isfinite(run.high) for run in arm)} of {len(arm)}" for arm in (self.faster, self.slower)]
        return f"target reached by {parts[0]} against {parts[1]} runs, so ranks decide"

    def interval(self, alpha: float) -> tuple[float, float]:
        """Hodges-Lehmann interval of the log ratio at level 1 - alpha."""
        rank = int((self._null() <= alpha / 2).sum())
        if rank == 0:
            return -np.inf, np.inf
        low, high = self._pairs()
        return float(np.sort(low)[rank - 1]), float(np.sort(high)[-rank])

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided exact p-value of "the log ratio equals `null`"; pairs that censoring leaves open count against."""
        low, high = self._pairs()
        above = self._null()[len(low) - int((low > null).sum())]
        below = self._null()[len(low) - int((high < null).sum())]
        return min(1.0, 2 * float(min(above, below)))

    def seeds_needed(self, alpha: float, room: Callable[[float], Room], chance: float = USUAL) -> int | None:
        """About how many seeds decide with that chance, or None where runs have to be longer instead.

        Half-width and standard error, about half-width / z, fall with the root of the seeds. Where so few seeds set no
        bound, it is the number from which ranks can.
        """
        if not np.isfinite(self._pairs()).any():  # no pair of runs says which was sooner
            return None
        low, high = self.interval(alpha)
        more = next(seeds for seeds in count(self.n_seeds + 1) if self._smallest_p(seeds) <= alpha)
        if np.isfinite([low, high]).all():
            enough, reserve = min(room(self.estimate)), 1 + float(stats.norm.ppf(chance) / stats.norm.isf(alpha / 2))
            return max(more, ceil(self.n_seeds * ((high - low) / 2 * reserve / enough) ** 2)) if enough > 0 else None
        return more if self._smallest_p(self.n_seeds) > alpha else None

    def _pairs(self) -> tuple[Array, Array]:
        """Bounds of log(slower / faster) for every pair of runs, `[pairs]`."""
        with np.errstate(divide="ignore"):
            fast = np.log([(run.low, run.high) for run in self.faster])
            slow = np.log([(run.low, run.high) for run in self.slower])
        low, high = np.subtract.outer(slow[:, 0], fast[:, 1]), np.subtract.outer(slow[:, 1], fast[:, 0])
        return low.ravel(), high.ravel()

    def _null(self) -> Array:
        """P(U <= u) for u = 0 ... pairs, when the arms do not differ."""
        return mann_whitney_cdf(len(self.faster), len(self.slower))

    @staticmethod
    def _smallest_p(seeds: int) -> float:
        """The smallest two-sided p-value that so many seeds can give."""
        return smallest_rank_p(seeds)


@dataclass(frozen=True)
class PairedSpeedup(Speedup):
    """The same for arms whose runs of one place have one seed."""

    def __post_init__(self) -> None:
        if len(self.faster) != len(self.slower):
            raise ValueError(f"paired by seed, but {len(self.faster)} and {len(self.slower)} seeds have run")

    def _pairs(self) -> tuple[Array, Array]:
        """Bounds of the Walsh averages: of every seed's log(slower / faster), and of the mean of every two."""
        low, high = (bounds.reshape(self.n_seeds, -1).diagonal() for bounds in super()._pairs())
        i, j = np.triu_indices(self.n_seeds)
        return (low[i] + low[j]) / 2, (high[i] + high[j]) / 2

    def _null(self) -> Array:
        """P(W <= w) for w = 0 ... averages, when log ratios are symmetric around 0."""
        return signed_rank_cdf(self.n_seeds)

    @staticmethod
    def _smallest_p(seeds: int) -> float:
        """All signs alike, either way."""
        return float(2.0 ** (1 - seeds))


def mann_whitney_cdf(m: int, n: int) -> Array:
    """P(U <= u) for u = 0 ... m n, with U the Mann-Whitney statistic of m and n values of one distribution.

    The counts are the coefficients of prod_i (1 - q^(n + i)) / (1 - q^i), i = 1 ... m (Gaussian binomial).
    """
    counts = np.zeros(m * n + 1)
    counts[0] = 1
    for i in range(1, m + 1):
        counts[n + i :] -= counts[: max(len(counts) - n - i, 0)].copy()
        for start in range(i):
            counts[start::i] = np.cumsum(counts[start::i])
    cumulative: Array = np.cumsum(counts) / counts.sum()
    return cumulative


def signed_rank_cdf(n: int) -> Array:
    """P(W <= w) for w = 0 ... n (n + 1) / 2, with W the signed-rank statistic of n values symmetric around 0.

    The counts are the coefficients of prod_i (1 + q^i), i = 1 ... n: each rank is in the sum or not.
    """
    counts = np.ones(1)
    for i in range(1, n + 1):
        counts = np.append(counts, np.zeros(i)) + np.append(np.zeros(i), counts)
    cumulative: Array = np.cumsum(counts) / counts.sum()
    return cumulative
