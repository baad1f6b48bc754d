"""What a study can find, claim by claim, before it runs.

Each claim has the level that its family leaves it in the worst case, alpha / (claims of its role): Holm's first step,
and Benjamini and Hochberg's with a single finding. Without pilots, numbers are in standard deviations between the
seeds of one arm, for scores by run of arms that vary alike and share nothing; what arms of one side share (joint arms
of a seed see the same questions in the same order) adds its square to the variance of a contrast of more than two
arms, which is said for 1 standard deviation.

Pilots, an earlier study with these arms, tell how much each arm varies, what the arms of a seed share (it is in the
contrast's own variance over seeds) and the prompts' part, so that numbers are in the metric's unit, with the chance
to find an effect as large as the smallest one of interest. How runs vary is itself a rough number after a few seeds.

They also tell what else would help. With seeds S, prompts P and K images of a prompt, a contrast has the variance

    V = A / S + B / P + (G + W / K) / (S P)

(seeds, prompts, seeds x prompts, and the images of a prompt): twice the seeds halve the first and the last term, twice
the prompts the last two, twice the images of a prompt W alone, which their spread within prompts shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unimm.analysis.claims import BestCell, Claims, Difference, Invariant, Measured, NonInferiority, Reach
from unimm.analysis.measure import compare_arms, costs_to_target, seed_by_seed
from unimm.analysis.power import Spread, half_width, minimum_detectable_effect, power, same_spread, smallest_rank_p
from unimm.analysis.results import StudyResults, Untestable

Array = NDArray[np.float64]
PAIR = {"a": 1.0, "b": -1.0}
LEAST = 0.01  # of a term that is left whatever was estimated: seeds never vary by nothing


@dataclass(frozen=True)
class Foresight:
    """One claim: median half-width of its interval, and the effect that is found four times in five.

    Both are in seed standard deviations, or, with pilots, on the scale of the claim's margin, whose `chance` to be
    found is then known as well. So is what is found four times in five with `twice` as many `seeds`, `prompts` or
    `images` of a prompt; None where the pilots' scores are not by prompt, or have one image of each.
    """

    claim: str
    role: str
    level: float
    half_width: float
    detectable: float
    note: str
    margin: float
    is_ratio: bool
    chance: float | None = None
    twice: Mapping[str, float | None] = field(default_factory=dict)


def foresee(claims: Claims, seeds: int, pilots: StudyResults | None = None) -> list[Foresight]:
    """Every claim that has a number, in the order of the file; `seeds` is the number for each arm.

    Claims on which the pilots say nothing are in seed standard deviations; their `chance` is None.

    Raises:
        ValueError: fewer than 2 seeds, which have no spread.
    """
    measured = [claim for claim in claims.claims if not isinstance(claim, Invariant)]
    return [
        _foresight(claim, claims.alpha / sum(other.role == claim.role for other in measured), seeds, pilots)
        for claim in measured
    ]


def _foresight(claim: Measured, level: float, seeds: int, pilots: StudyResults | None) -> Foresight:
    found = None if pilots is None else _piloted(claim, pilots)
    weights = list(_weights(claim).values())
    spread = found.spread if found else same_spread(weights, by_seed=len(weights) > 2 or claim.paired)
    return Foresight(
        claim=claim.id,
        role=claim.role,
        level=level,
        half_width=half_width(seeds, alpha=level, spread=spread),
        detectable=minimum_detectable_effect(seeds, alpha=level, spread=spread),
        note="; ".join(
            filter(None, [_note(claim, seeds, level, found is not None), "" if found else _shared(claim, seeds, level)])
        ),
        margin=claim.margin,
        is_ratio=claim.is_ratio,
        chance=power(seeds, claim.margin, alpha=level, spread=spread) if found else None,
        twice=_twice(found, seeds, level) if found else {},
    )


def _twice(found: _Parts, seeds: int, level: float) -> dict[str, float | None]:
    """Smallest effects that are found four times in five with twice as many of each."""

    def smallest(seeds: int, spread: Spread | None) -> float | None:
        return None if spread is None else minimum_detectable_effect(seeds, alpha=level, spread=spread)

    return {
        "seeds": smallest(2 * seeds, found.spread),
        "prompts": smallest(seeds, found.with_twice_the_prompts()),
        "images": smallest(seeds, found.with_twice_the_images()),
    }


@dataclass(frozen=True)
class _Parts:
    """A contrast's spread, and how much of the sum of its terms seeds x prompts and images make; None for unknown."""

    spread: Spread
    residual: float | None
    images: float | None

    def with_twice_the_prompts(self) -> Spread | None:
        """New texts of the same kind."""
        if self.residual is None:
            return None
        return replace(self._less(max(self.residual, self.images or 0.0) / 2), lasting=self.spread.lasting / 2)

    def with_twice_the_images(self) -> Spread | None:
        """Of every prompt."""
        return None if self.images is None else self._less(self.images / 2)

    def _less(self, part: float) -> Spread:
        """The spread with a part of its terms taken away, from each in proportion."""
        left = max(1 - part / sum(self.spread.terms), LEAST)
        return replace(self.spread, terms=tuple(left * term for term in self.spread.terms))


def _piloted(claim: Measured, pilots: StudyResults) -> _Parts | None:
    """The claim's spread as the pilots show it; None if they lack an arm, the metric, or 2 seeds that differ."""
    try:
        found = [_parts(claim, each, pilots) for each in _terms(claim, pilots)]
    except (Untestable, ValueError):
        return None
    known = [parts for parts in found if parts is not None]
    return max(known, key=lambda parts: parts.spread.error(2)) if len(known) == len(found) else None


def _parts(claim: Measured, found: _Terms, pilots: StudyResults) -> _Parts | None:
    """From scores by run, `[seeds]` each, and the prompts' standard errors; None for runs that do not vary."""
    terms = [weight * found.runs[arm] for arm, weight in found.weights.items()]
    seen = [np.sum(terms, axis=0)] if seed_by_seed(claim, found.runs, pilots) else terms
    variances = tuple(float(values.var(ddof=1)) for values in seen)
    if not sum(variances) > 0:
        return None
    noise = pilots.image_noise.get(claim.metric, {})
    by_prompt = found.residual is not None and noise.keys() >= found.weights.keys()
    return _Parts(
        Spread(variances, found.lasting**2),
        None if found.residual is None else found.residual**2 * len(seen[0]),
        sum(weight**2 * noise[arm] for arm, weight in found.weights.items()) if by_prompt else None,
    )


class _Terms(NamedTuple):
    """Runs by arm, weights, and the standard errors of prompts and of seeds x prompts (None: scores are by run)."""

    runs: Mapping[str, Array]
    weights: Mapping[str, float]
    lasting: float = 0.0
    residual: float | None = None


@singledispatch
def _terms(claim: Measured, pilots: StudyResults) -> Sequence[_Terms]:
    """Of each contrast that the claim rests on."""
    raise NotImplementedError(type(claim))


@_terms.register(Difference)
@_terms.register(NonInferiority)
def _(claim: Difference | NonInferiority, pilots: StudyResults) -> Sequence[_Terms]:
    return [_scores(claim, _weights(claim), pilots)]


@_terms.register
def _(claim: BestCell, pilots: StudyResults) -> Sequence[_Terms]:
    return [_scores(claim, {claim.best: 1.0, rival: -1.0}, pilots) for rival in claim.others]


@_terms.register
def _(claim: Reach, pilots: StudyResults) -> Sequence[_Terms]:
    bounds = {arm: costs_to_target(claim, arm, pilots) for arm in (claim.slower, claim.faster)}
    if any(run.low != run.high for arm in bounds.values() for run in arm):
        raise Untestable("a pilot's cost is only bounded")
    runs = {arm: np.log([run.low for run in costs]) for arm, costs in bounds.items()}
    return [_Terms(runs, {claim.slower: 1.0, claim.faster: -1.0})]


def _scores(claim: Measured, weights: Mapping[str, float], pilots: StudyResults) -> _Terms:
    found = compare_arms(claim, weights, pilots)
    runs = {arm: pilots.by_run(claim, arm) for arm in weights}
    return _Terms(runs, weights, found.lasting_error, None if found.n_items is None else found.residual_error)


@singledispatch
def _weights(claim: Measured) -> Mapping[str, float]:
    raise NotImplementedError(type(claim))


@_weights.register(Difference)
@_weights.register(NonInferiority)
def _(claim: Difference | NonInferiority) -> Mapping[str, float]:
    return {arm: weight for arm, weight in claim.contrast.items() if weight}


@_weights.register(BestCell)
@_weights.register(Reach)
def _(claim: BestCell | Reach) -> Mapping[str, float]:
    return PAIR


def _note(claim: Measured, seeds: int, level: float, piloted: bool) -> str:
    """What the numbers leave out."""
    if isinstance(claim, BestCell):
        return "of the rival that varies most" if piloted else "of each rival"
    if isinstance(claim, Reach):
        undecided = smallest_rank_p(seeds) > level
        return "of log costs" + ("; open if any run misses the target" if undecided else "")
    return "of log scores" if claim.is_ratio else ""


def _shared(claim: Measured, seeds: int, level: float) -> str:
    """What it costs a contrast of many arms if those of one side share something."""
    weights = list(_weights(claim).values())
    if len(weights) <= 2:
        return ""
    more = minimum_detectable_effect(seeds, alpha=level, spread=same_spread(weights, by_seed=True, shared=1.0))
    return f"{more:.2f} if the arms of one side share 1"


def table(foresights: Sequence[Foresight], seeds: int, pilot_seeds: int | None = None) -> str:
    """As text, with what its numbers mean; `pilot_seeds` is how many seeds an arm the pilots have, if there are any."""
    width = max(len(each.claim) for each in foresights)
    blind = [each for each in foresights if each.chance is None]
    known = [each for each in foresights if each.chance is not None]
    lines = []
    if blind:
        lines += [
            f"What {seeds} seeds an arm can find, in standard deviations between seeds of one arm, if all arms vary "
            "alike (prompts come on top):",
            f"  {'claim':<{width}}  {'role':<9}  {'level':>6}  {'interval':>8}  smallest effect found 4 times in 5",
            *(_blind(each, width) for each in blind),
        ]
    if known:
        assert pilot_seeds is not None, "what is known comes from pilots"
        lines += [
            f"What {seeds} seeds an arm can find, in each metric's unit (xN: a ratio), with the spread that pilots of "
            f"{pilot_seeds} seeds have, prompts included:",
            f"  {'claim':<{width}}  {'role':<9}  {'level':>6}  {'interval':>8}  {'found 4 in 5':>12}  "
            f"{'of interest':>11}  chance to find that",
            *(_known(each, width) for each in known),
            f"  {_rough(pilot_seeds)}",
            *_more(known, width),
        ]
    return "\n".join(lines)


def _blind(each: Foresight, width: int) -> str:
    numbers = f"{each.level:6.4f}  {'±' + format(each.half_width, '.2f'):>8}  {each.detectable:.2f}"
    return f"  {each.claim:<{width}}  {each.role:<9}  {numbers}{each.note and f' ({each.note})'}"


def _known(each: Foresight, width: int) -> str:
    assert each.chance is not None
    half = _effect(each, each.half_width)
    half = half if each.is_ratio else f"±{half}"
    numbers = f"{half:>8}  {_effect(each, each.detectable):>12}  {_effect(each, each.margin):>11}"
    tail = f"{100 * each.chance:.0f} %{each.note and f' ({each.note})'}"
    return f"  {each.claim:<{width}}  {each.role:<9}  {each.level:6.4f}  {numbers}  {tail}"


def _more(known: Sequence[Foresight], width: int) -> list[str]:
    """What twice as much of each would let the study find."""
    lines = [
        "What would be found 4 times in 5 with twice as many (prompts: new texts; -: the scores are not by prompt):",
        f"  {'claim':<{width}}  {'now':>9}  {'2x seeds':>9}  {'2x prompts':>10}  2x images a prompt",
    ]
    for each in known:
        seeds, prompts, images = (_effect(each, each.twice[what]) for what in ("seeds", "prompts", "images"))
        now = _effect(each, each.detectable)
        lines.append(f"  {each.claim:<{width}}  {now:>9}  {seeds:>9}  {prompts:>10}  {images}")
    return lines


def _effect(each: Foresight, value: float | None) -> str:
    """An effect in the metric's unit, or as a ratio; `-` where it is not known."""
    if value is None:
        return "-"
    return f"x{np.exp(value):.3g}" if each.is_ratio else f"{value:.3g}"


def _rough(seeds: int) -> str:
    """How far a standard deviation over so few seeds may lie from the true one."""
    low, high = (sqrt((seeds - 1) / stats.chi2.ppf(end, seeds - 1)) for end in (0.975, 0.025))
    return f"A spread of {seeds} seeds is rough: the true one is {low:.2f} to {high:.2f} times as large (95 %)."
