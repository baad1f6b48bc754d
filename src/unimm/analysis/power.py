"""What a study can find, before it runs: half-widths, smallest detectable effects, seeds that would decide.

For a contrast with weights c_k over arms of S seeds and one seed standard deviation sd, the standard error is
sd * sqrt(sum_k c_k^2 / S), with df = 2 (S - 1) for a pair and S - 1 for more arms, which are compared seed by seed
(`unimm.analysis.contrast`). Power is that of the noncentral t distribution.

Claim by claim, everything is in standard deviations between the seeds of one arm, which a pilot or an earlier study
tells. Each claim has the level that its family leaves it in the worst case, alpha / (claims of its role): Holm's first
step, and Benjamini and Hochberg's with a single finding. All numbers are for scores by run, of arms that share nothing:
prompts add to them, and so does whatever the arms of a seed share, so that they are lower bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from math import ceil, comb, hypot, sqrt

from scipy import optimize, stats

from unimm.analysis.claims import BestCell, Claims, Difference, Invariant, Measured, NonInferiority, Reach

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


def seeds_needed(
    seeds: int, standard_error: float, df: float, target: float, *, alpha: float, lasting_error: float = 0.0
) -> int | None:
    """Seeds an arm at which the half-width at level 1 - alpha would shrink to `target`; None if no number would do.

    With n seeds instead of `seeds` the standard error falls by sqrt(seeds / n) and degrees of freedom grow as n - 1:
    with 3 seeds most of an interval's width is the t distribution's, which a few seeds more take away. What they do not
    take away is `lasting_error`, the prompts' share of the standard error.
    """
    if float(stats.norm.isf(alpha / 2)) * lasting_error >= target:
        return None
    shrinking = standard_error**2 - lasting_error**2

    def excess(n: float) -> float:
        t = float(stats.t.isf(alpha / 2, df * (n - 1) / (seeds - 1)))
        return t * sqrt(shrinking * seeds / n + lasting_error**2) - target

    if excess(seeds) <= 0:
        return seeds
    enough = 2.0 * seeds
    while excess(enough) > 0:
        enough *= 2
    return ceil(float(optimize.brentq(excess, seeds, enough)) - 1e-9)


def smallest_rank_p(seeds: int) -> float:
    """Smallest two-sided p-value that an exact rank test of two arms with `seeds` runs each can reach."""
    return 2 / comb(2 * seeds, seeds)


def _standard_error(seeds: int, sd: float, weights: Sequence[float]) -> float:
    return sd * hypot(*weights) / sqrt(seeds)


def _df(seeds: int, weights: Sequence[float]) -> int:
    if seeds < 2:
        raise ValueError(f"{seeds} seed says nothing about how seeds vary; plan for 2 or more")
    return (2 if len(weights) == 2 else 1) * (seeds - 1)


@dataclass(frozen=True)
class Foresight:
    """One claim: half-width of its interval and the effect found 4 times in 5, both in seed standard deviations."""

    claim: str
    role: str
    level: float
    half_width: float
    detectable: float
    note: str


def foresee(claims: Claims, seeds: int) -> list[Foresight]:
    """Every claim that has a number, in the order of the file; `seeds` is the number for each arm.

    Raises:
        ValueError: fewer than 2 seeds, which have no spread.
    """
    measured = [claim for claim in claims.claims if not isinstance(claim, Invariant)]
    found = []
    for claim in measured:
        level = claims.alpha / sum(other.role == claim.role for other in measured)
        weights = _weights(claim)
        half = half_width(seeds, alpha=level, weights=weights)
        detectable = minimum_detectable_effect(seeds, alpha=level, weights=weights)
        found.append(Foresight(claim.id, claim.role, level, half, detectable, _note(claim, seeds, level)))
    return found


def table(foresights: Sequence[Foresight], seeds: int) -> str:
    """As text, with what its numbers mean."""
    width = max(len(each.claim) for each in foresights)
    lines = [
        f"What {seeds} seeds an arm can find, in standard deviations between seeds of one arm (prompts come on top):",
        f"  {'claim':<{width}}  {'role':<9}  {'level':>6}  {'interval':>8}  smallest effect found 4 times in 5",
    ]
    for each in foresights:
        numbers = f"{each.level:6.4f}  {'±' + format(each.half_width, '.2f'):>8}  {each.detectable:.2f}"
        lines.append(f"  {each.claim:<{width}}  {each.role:<9}  {numbers}{each.note and f' ({each.note})'}")
    return "\n".join(lines)


@singledispatch
def _weights(claim: Measured) -> Sequence[float]:
    raise NotImplementedError(type(claim))


@_weights.register(Difference)
@_weights.register(NonInferiority)
def _(claim: Difference | NonInferiority) -> Sequence[float]:
    return [weight for weight in claim.contrast.values() if weight]


@_weights.register(BestCell)
@_weights.register(Reach)
def _(claim: BestCell | Reach) -> Sequence[float]:
    return PAIR


def _note(claim: Measured, seeds: int, level: float) -> str:
    """What the numbers leave out."""
    if isinstance(claim, BestCell):
        return "of each rival"
    if isinstance(claim, Reach):
        undecided = smallest_rank_p(seeds) > level
        return "of log costs" + ("; open if any run misses the target" if undecided else "")
    return ""
