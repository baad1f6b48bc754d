"""How often a t test finds an effect, which effect it finds four times in five, and how many seeds a question needs.

The estimate D of a contrast of S seeds an arm is normal around the true effect, and its squared standard error is

    V = sum_k v_k / S + L,       v_k = c_k^2 sd_k^2

with one term k for each arm of a pair (Welch), or a single one where a contrast is taken seed by seed (paired arms,
more than two arms: `unimm.analysis.contrast`), whose v is the variance of that one value over seeds: whatever the
arms of a seed share is in it. L is the prompts' part, which seeds do not take away. The test sees estimates g_k v_k
in place of v_k, g_k ~ chi2(S - 1) / (S - 1), and takes from them the Satterthwaite degrees of freedom and with those
its half-width H:

    V^ = sum_k g_k v_k / S + L,     df = V^^2 / sum_k ((g_k v_k / S)^2 / (S - 1)),     H = t(1 - alpha / 2, df) sqrt(V^)

D and H are independent, so that the chance of finding a true effect d is the mean over g of P(D > H) = Phi((d - H) /
sqrt(V)): an integral over one or two chi-square variables, done by Gauss-Legendre quadrature over their quantiles. It
is the power of the very test that is run: with df = 2 (S - 1), Student's, "four times in five" is 57 % at 3 seeds and
a level of 0.0083 (`experiments/simulations/power_of_welch.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
# How far an interval has to end from its estimate in order to decide, (below, above): inf on a side that is free.
Room = tuple[float, float]

USUAL = 0.8  # "four times in five"
# Gauss-Legendre on (0, 1).
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
QUANTILES, CHANCES = (_NODES + 1) / 2, _WEIGHTS / 2


@dataclass(frozen=True)
class Spread:
    """What makes an estimate vary: `terms` v_k, divided by the seeds, and `lasting` L, which stays; squared units.

    Raises:
        ValueError: no term, more than two, or one below 0.
    """

    terms: tuple[float, ...]
    lasting: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.terms) <= 2 or min(*self.terms, self.lasting, 0.0) < 0 or not sum(self.terms) > 0:
            raise ValueError(f"one or two terms that are not negative, and not all zero, make a spread; got {self}")

    def error(self, seeds: int) -> float:
        """True standard error of the estimate."""
        return sqrt(sum(self.terms) / seeds + self.lasting)

    def half_widths(self, seeds: int, alpha: float) -> tuple[Array, Array]:
        """Half-widths that intervals at level 1 - alpha come out with, and the probability of each, `[nodes]`.

        Raises:
            ValueError: fewer than 2 seeds, which have no spread.
        """
        if seeds < 2:
            raise ValueError(f"{seeds} seed says nothing about how seeds vary; plan for 2 or more")
        ratios, chances = _variance_ratios(seeds - 1)
        seen = np.stack(np.meshgrid(*(ratios * term / seeds for term in self.terms), indexing="ij"))
        weight = chances if len(self.terms) == 1 else np.outer(chances, chances)
        total = seen.sum(0) + self.lasting
        df = total**2 * (seeds - 1) / (seen**2).sum(0)
        if len(self.terms) == 1:
            df = np.minimum(df, seeds - 1)
        return (stats.t.isf(alpha / 2, df) * np.sqrt(total)).ravel(), weight.ravel()


# Two arms whose runs vary alike, in standard deviations between the seeds of one arm.
PAIR = Spread((1.0, 1.0))


def power(seeds: int, effect: float, *, alpha: float = 0.05, spread: Spread = PAIR) -> float:
    """Chance that a two-sided test at alpha finds a true effect, in the right direction."""
    return _chance((effect, inf), spread.error(seeds), *spread.half_widths(seeds, alpha))


def half_width(seeds: int, *, alpha: float = 0.05, spread: Spread = PAIR) -> float:
    """Median half-width of the interval at level 1 - alpha: half of all studies get a narrower one."""
    halves, chances = spread.half_widths(seeds, alpha)
    order = np.argsort(halves)
    return float(np.interp(0.5, np.cumsum(chances[order]) - chances[order] / 2, halves[order]))


def minimum_detectable_effect(
    seeds: int, *, alpha: float = 0.05, chance: float = USUAL, spread: Spread = PAIR
) -> float:
    """Smallest true effect that a two-sided test at alpha finds with probability `chance`, in the spread's unit."""
    error, (halves, chances) = spread.error(seeds), spread.half_widths(seeds, alpha)
    enough = float(halves.max()) + 10 * error
    return float(optimize.brentq(lambda effect: _chance((effect, inf), error, halves, chances) - chance, 0.0, enough))


def seeds_needed(
    seeds: int,
    standard_error: float,
    df: float,
    room: Room,
    *,
    alpha: float,
    lasting_error: float = 0.0,
    chance: float = USUAL,
) -> int | None:
    """Fewest seeds an arm with which a new study decides with probability `chance`; None if no number would do.

    It is the chance if the true effect and spreads are those that `seeds` seeds have shown, which are estimates
    themselves: a smaller effect needs more (`experiments/simulations/seeds_that_decide.py`). Standard errors fall
    with the root of the seeds, but for the prompts' part, `lasting_error`; degrees of freedom grow in proportion to
    seeds - 1.

    Args:
        seeds: those of the study that was run.
        standard_error: of its estimate, the prompts' part included.
        df: degrees of freedom of that.
        room: how far below and above the estimate the interval has to end.
        alpha: the interval's level is 1 - alpha.
        lasting_error: the prompts' share of the standard error.
        chance: four times in five by default.
    """
    if min(room) <= 0 or not _ever(room, lasting_error, alpha, chance):
        return None
    if standard_error == 0:
        return seeds
    lasting, shrinking = lasting_error**2, max(standard_error**2 - lasting_error**2, 0.0)
    own = float(np.clip(df * (shrinking / standard_error**2) ** 2, seeds - 1, 2 * (seeds - 1)))
    capped = df <= seeds - 1

    def decides(n: int) -> bool:
        df_n = own * (n - 1) / (seeds - 1)
        ratios, chances = _variance_ratios(df_n)
        seen = ratios * shrinking * seeds / n
        total = seen + lasting
        df_seen = np.minimum(df_n * (total / np.maximum(seen, 1e-300)) ** 2, n - 1 if capped else inf)
        halves = stats.t.isf(alpha / 2, df_seen) * np.sqrt(total)
        return _chance(room, sqrt(shrinking * seeds / n + lasting), halves, chances) >= chance

    enough = seeds
    while not decides(enough):
        enough *= 2
    low = max(enough // 2, seeds - 1)  # too few, if it is a number of seeds at all
    while enough - low > 1:
        middle = (low + enough) // 2
        low, enough = (low, middle) if decides(middle) else (middle, enough)
    return enough


def _ever(room: Room, lasting_error: float, alpha: float, chance: float) -> bool:
    """Whether endless seeds would decide: what prompts leave open, they do not."""
    if lasting_error == 0:
        return True
    half = np.array([float(stats.norm.isf(alpha / 2)) * lasting_error])
    return _chance(room, lasting_error, half, np.ones(1)) >= chance


def smallest_rank_p(seeds: int) -> float:
    """Smallest two-sided p-value that an exact rank test of two arms with `seeds` runs each can reach."""
    return 2 / comb(2 * seeds, seeds)


def _chance(room: Room, error: float, halves: Array, chances: Array) -> float:
    """Chance that an interval ends inside `room` around the true effect: below by less, above by less."""
    below, above = room
    inside = stats.norm.cdf((above - halves) / error) - stats.norm.cdf((halves - below) / error)
    return float(chances @ np.maximum(inside, 0.0))


def _variance_ratios(df: float) -> tuple[Array, Array]:
    """Estimated variance over the true one, at nodes with their probabilities, `[nodes]`."""
    return stats.chi2.ppf(QUANTILES, df) / df, CHANCES


def same_spread(weights: Sequence[float], *, by_seed: bool, shared: float = 0.0) -> Spread:
    """Spread of a contrast of arms whose runs all vary by 1; `shared`: what the arms of one side share in each seed.

    Args:
        weights: c_k.
        by_seed: whether the contrast is taken in each seed first.
        shared: in the same unit; weights of one side sum to 1, so that it adds its square.
    """
    squares = tuple(weight**2 for weight in weights)
    return Spread((sum(squares) + shared**2,)) if by_seed else Spread(squares)
