"""The figure of effects: every claim's effect with its interval and one dot a seed, beside what would be too small.

A dot is the claim's contrast among the runs of one seed (for `best-cell` against the strongest rival, for `reach` the
ratio of two runs' costs, open where a run's cost is only bounded). The interval pairs seeds where more than two arms
are compared, where the claim says so, and where arms share their first stage (`unimm.analysis.contrast`).
"""

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes

from unimm.analysis.claims import BestCell, Difference, Invariant, Measured, NonInferiority, Reach
from unimm.analysis.measure import costs_to_target
from unimm.analysis.reach import Speedup
from unimm.analysis.results import StudyResults
from unimm.analysis.verdicts import Outcome
from unimm.report.study.answers import Answer
from unimm.report.study.every_claim import arms_of
from unimm.report.study.folder import Array
from unimm.report.study.scored import ScoredStudy
from unimm.report.study.style import (
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    VERMILION,
    Picture,
    log_ticks,
    new_figure,
    picture,
    plain,
)

COLOURS = {
    Outcome.SUPPORTED: BLUE,
    Outcome.CONTRADICTED: VERMILION,
    Outcome.NEGLIGIBLE: GREY,
    Outcome.INCONCLUSIVE: ORANGE,
}
# An orange that can be read as text.
WORDS = COLOURS | {Outcome.INCONCLUSIVE: "#7A5200"}
# Seed values of an effect, and which of them are only bounds.
Dots = tuple[Array, np.ndarray]


def effects_figure(study: ScoredStudy, answers: list[Answer], results: StudyResults) -> Picture | None:
    """Panels by metric, each with its own unit; None if no claim has a number."""
    groups: dict[str, list[tuple[Answer, Measured]]] = {}
    for answer in answers:
        if answer.verdict.estimate is not None and not isinstance(answer.claim, Invariant):
            groups.setdefault(_unit(answer.claim, study), []).append((answer, answer.claim))
    if not groups:
        return None
    heights = [len(group) + 1.3 for group in groups.values()]
    figure = new_figure(9, 0.62 * sum(heights))
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (unit, group) in zip(axes, groups.items(), strict=True):
        seeds = [_dots(study, claim, results) for _, claim in group]
        _panel(axis, unit, group, seeds)
    return picture(figure)


def _unit(claim: Measured, study: ScoredStudy) -> str:
    if isinstance(claim, Reach):
        return "ratio of costs to reach the target, slower / faster arm (log scale)"
    better = {1: "higher", -1: "lower"}[claim.sign]
    if claim.is_ratio:
        return f"ratio of {study.words[claim.metric].short} (right of 1: {better}, as claimed; log scale)"
    return f"difference in {study.words[claim.metric].short} (right of 0: {better}, as claimed)"


def _panel(axis: Axes, unit: str, group: list[tuple[Answer, Measured]], seeds: list[Dots]) -> None:
    ratio = group[0][1].is_ratio
    null = 1.0 if ratio else 0.0
    shown = [null]
    for row, (answer, claim) in enumerate(group):
        smallest = claim.in_units(claim.margin)
        band = (1 / smallest, smallest) if ratio else (-smallest, smallest)
        axis.fill_betweenx([row - 0.38, row + 0.38], *band, color=LIGHT, linewidth=0)
        finite = [end for end in (answer.verdict.low, answer.verdict.high) if end and np.isfinite(end)]
        shown += [*band, *finite, *seeds[row][0]]
    axis.axvline(null, color="black", linewidth=1)
    low, high = _limits(np.array(shown), ratio)
    for row, (answer, _) in enumerate(group):
        _row(axis, row, answer, seeds[row], (low, high))
    if ratio:
        log_ticks(axis, "{x:g}")
    axis.set_xlim(low, high)
    axis.set_ylim(len(group) - 0.5, -0.5)
    axis.set_yticks(range(len(group)), [answer.claim.id.replace("_", " ") for answer, _ in group])
    axis.set_xlabel(unit)
    plain(axis)
    axis.grid(visible=False, axis="y")


def _limits(values: Array, ratio: bool) -> tuple[float, float]:
    """Ends of the axis, with a margin; intervals without a bound run to them."""
    scale = np.log(values) if ratio else values
    margin = 0.06 * (scale.max() - scale.min())
    ends = scale.min() - margin, scale.max() + margin
    low, high = np.exp(ends) if ratio else ends
    return float(low), float(high)


def _row(axis: Axes, row: int, answer: Answer, seeds: Dots, limits: tuple[float, float]) -> None:
    verdict = answer.verdict
    assert verdict.estimate is not None and verdict.low is not None and verdict.high is not None
    colour = COLOURS[verdict.outcome]
    low, high = np.clip([verdict.low, verdict.high], *limits)
    axis.plot([low, high], [row, row], color=colour, linewidth=2.5, solid_capstyle="butt")
    for end, inside, arrow in ((low, verdict.low >= limits[0], "<"), (high, verdict.high <= limits[1], ">")):
        axis.plot(
            end, row, marker="|" if inside else arrow, color=colour, markersize=10, markeredgewidth=2.5, clip_on=False
        )
    axis.plot(verdict.estimate, row, marker="D", color=colour, markersize=7, markeredgecolor="white")
    dots, bounds = seeds
    for known, face in ((~bounds, GREY), (bounds, "white")):
        heights = np.full(known.sum(), row + 0.27)
        axis.plot(dots[known], heights, "o", color=GREY, markerfacecolor=face, markersize=5, alpha=0.9)
    words = f"{answer.mark} {verdict.outcome.value}"
    axis.annotate(
        words,
        (1.03, row),
        xycoords=("axes fraction", "data"),
        va="center",
        color=WORDS[verdict.outcome],
        fontweight="bold",
    )


def _dots(study: ScoredStudy, claim: Measured, results: StudyResults) -> Dots:
    """The claim's effect in each seed; none unless every arm has finished every seed, as seeds would be mixed up."""
    complete = all(len(study.finished(arm)) == len(study.plan.seeds) for arm in arms_of(claim))
    return _seeds(claim, results) if complete else _known(np.zeros(0))


@singledispatch
def _seeds(claim: Measured, results: StudyResults) -> Dots:
    raise NotImplementedError(type(claim))


@_seeds.register(Difference)
@_seeds.register(NonInferiority)
def _(claim: Difference | NonInferiority, results: StudyResults) -> Dots:
    return _known(_in_units(claim, _contrast(claim, claim.contrast, results)))


@_seeds.register
def _(claim: BestCell, results: StudyResults) -> Dots:
    leads = [_contrast(claim, {claim.best: 1, rival: -1}, results) for rival in claim.others]
    return _known(_in_units(claim, min(leads, key=lambda lead: lead.mean())))


@_seeds.register
def _(claim: Reach, results: StudyResults) -> Dots:
    pairs = list(zip(*(costs_to_target(claim, arm, results) for arm in (claim.faster, claim.slower)), strict=True))
    ratios = [np.exp(Speedup([fast], [slow]).estimate) for fast, slow in pairs]
    return np.array(ratios), np.array([any(run.low != run.high for run in pair) for pair in pairs])


def _in_units(claim: Measured, effects: Array) -> Array:
    return np.exp(effects) if claim.is_ratio else effects


def _known(values: Array) -> Dots:
    return values, np.zeros(len(values), dtype=bool)


def _contrast(claim: Measured, weights: dict[str, float], results: StudyResults) -> Array:
    """The weighted sum of the arms' scores for every seed, positive in the claimed direction, on the claim's scale."""
    runs = [weight * results.by_run(claim, arm) for arm, weight in weights.items()]
    total: Array = claim.sign * np.sum(runs, axis=0)
    return total
