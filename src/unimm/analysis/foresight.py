"""What a study can find, claim by claim, before it runs: half-widths and smallest detectable effects.

In standard deviations between the seeds of one arm, which a pilot or an earlier study tells. Each claim has the level
that its family leaves it in the worst case, alpha / (claims of its role): Holm's first step, and Benjamini and
Hochberg's with a single finding. Prompts, and whatever the arms of a seed share, come on top, so that these are lower
bounds (`unimm.analysis.power`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from unimm.analysis.claims import BestCell, Claims, Difference, Invariant, Measured, NonInferiority, Reach
from unimm.analysis.power import PAIR, half_width, minimum_detectable_effect, smallest_rank_p


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
