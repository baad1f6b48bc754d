"""The map of a study: every question's effect at every level of every axis, so that the eye finds where a sign turns.

One panel a question, one column a level; the line is no effect, and above it is what the paper says. A cell has its
claim's interval, its verdict's sign and colour, and a dot for every seed that all of its arms have finished, so that a
study that still runs shows what it has. A frame marks the paper's own cell.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from unimm.analysis.claim_map import ClaimMap, Column
from unimm.analysis.claims import WithContrast
from unimm.analysis.verdicts import Outcome
from unimm.report.study.answers import MARKS, Answer
from unimm.report.study.effects import COLOURS, WORDS
from unimm.report.study.folder import Array
from unimm.report.study.scored import ScoredStudy
from unimm.report.study.style import GREY, LIGHT, Picture, new_figure, picture, plain

WIDTH, BETWEEN = 0.8, 0.6  # of a column, and between two axes, in columns
LEAST = 0.1  # what the vertical axis spans at least, up and down
UNIT = "difference in the claim's score; above 0: as the paper says"
PENDING = "#F2F2F2"


def map_figure(study: ScoredStudy, answers: Sequence[Answer]) -> Picture | None:
    """The map that the claims file draws up; None for a study without one."""
    drawn = study.plan.claims.map
    if drawn is None:
        return None
    found = {answer.claim.id: answer for answer in answers}
    places = _places(drawn.columns)
    figure = new_figure(1.8 + 0.5 * (places[-1] + 1), 2.0 + 2.0 * len(drawn.rows))
    panels = figure.subplots(len(drawn.rows), 1, squeeze=False, sharex=True)[:, 0]
    for row, axis in enumerate(panels):
        _panel(axis, study, drawn, row, found, places)
    panels[-1].set_xticks(places, [textwrap.fill(column.level, 16) for column in drawn.columns], rotation=90)
    panels[-1].set_xlim(-0.6, places[-1] + 0.6)
    figure.supylabel(UNIT, fontsize=9)
    _name_axes(panels[0], drawn.columns, places)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return picture(figure)


def _places(columns: Sequence[Column]) -> list[float]:
    """Where each column stands: one apart, and a little more between two axes."""
    places = [0.0]
    for before, after in pairwise(columns):
        places.append(places[-1] + 1 + (BETWEEN if after.axis != before.axis else 0))
    return places


def _panel(
    axis: Axes, study: ScoredStudy, drawn: ClaimMap, row: int, found: Mapping[str, Answer], places: Sequence[float]
) -> None:
    shown = [0.0, LEAST, -LEAST]
    for column, place in zip(drawn.columns, places, strict=True):
        name = column.cells[row]
        if name is not None:
            shown += _cell(axis, study, found[name], place)
    axis.axhline(0, color="black", linewidth=1)
    low, high = min(shown), max(shown)
    room = 0.18 * (high - low)
    axis.set_ylim(low - room / 2, high + room)
    for column, place in zip(drawn.columns, places, strict=True):
        name = column.cells[row]
        if name is not None:
            _mark(axis, found[name], place, is_paper=name == drawn.paper[row])
    axis.set_ylabel(textwrap.fill(drawn.rows[row], 22))
    plain(axis)
    axis.grid(visible=False, axis="x")


def _cell(axis: Axes, study: ScoredStudy, answer: Answer, place: float) -> list[float]:
    """Draw a claim's interval and seeds; returns the heights that it takes."""
    claim, verdict = answer.claim, answer.verdict
    assert isinstance(claim, WithContrast), "claims files refuse others in a map"
    seeds = seed_effects(study, claim)
    margin = claim.margin
    axis.fill_between([place - WIDTH / 2, place + WIDTH / 2], -margin, margin, color=LIGHT, linewidth=0)
    if not len(seeds):
        return [-margin, margin]
    beside, face = np.full(len(seeds), place + 0.22), "white" if verdict.estimate is None else GREY
    axis.plot(beside, seeds, "o", color=GREY, markerfacecolor=face, markersize=4, alpha=0.9)
    if verdict.estimate is None or verdict.low is None or verdict.high is None:
        return [-margin, margin, *seeds]
    colour, ends = COLOURS[verdict.outcome], [verdict.low, verdict.high]
    axis.plot([place, place], ends, color=colour, linewidth=2.2, solid_capstyle="butt")
    axis.plot(place, verdict.estimate, "D", color=colour, markersize=6, markeredgecolor="white")
    return [-margin, margin, *seeds, *ends]


def _mark(axis: Axes, answer: Answer, place: float, is_paper: bool) -> None:
    """The verdict's sign above a cell, grey ground where nothing has run, and a frame around the paper's own."""
    low, high = axis.get_ylim()
    corner, size = (place - WIDTH / 2, low), (WIDTH, high - low)
    if answer.verdict.estimate is None:
        axis.add_patch(Rectangle(corner, *size, facecolor=PENDING, edgecolor="none", zorder=0))
    if is_paper:
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=1.6, clip_on=False))
    sign, colour = MARKS[answer.verdict.outcome], WORDS.get(answer.verdict.outcome, GREY)
    axis.annotate(sign, (place, high), (0, -3), textcoords="offset points", ha="center", va="top", color=colour)


def seed_effects(study: ScoredStudy, claim: WithContrast) -> Array:
    """The claim's contrast in every seed that all of its arms have finished, positive in the claimed direction."""
    arms = [study.runs[arm] for arm in claim.contrast]
    seeds = [seed for seed in study.plan.seeds if all(seed in runs for runs in arms)]
    values = np.array([[runs[seed].value(claim.metric) for seed in seeds] for runs in arms], dtype=float)
    effects: Array = claim.sign * np.array(list(claim.contrast.values())) @ values
    return effects[np.isfinite(effects)]


def _name_axes(axis: Axes, columns: Sequence[Column], places: Sequence[float]) -> None:
    """The name of every axis above its columns, and a line over them."""
    for name in dict.fromkeys(column.axis for column in columns):
        own = [place for column, place in zip(columns, places, strict=True) if column.axis == name]
        span = own[0] - WIDTH / 2, own[-1] + WIDTH / 2
        across = axis.get_xaxis_transform()
        axis.plot(span, [1.04, 1.04], color="black", linewidth=1, transform=across, clip_on=False)
        label = textwrap.fill(name, max(10, int(9 * (span[1] - span[0]))))
        axis.text(sum(span) / 2, 1.07, label, transform=across, ha="center", va="bottom", fontsize=9)


def _legend() -> list[Line2D | Patch]:
    def dots(label: str, face: str) -> Line2D:
        return Line2D([], [], color=GREY, marker="o", ls="", markersize=4, markerfacecolor=face, label=label)

    verdicts = [
        Line2D([], [], color=colour, marker="D", linewidth=2.2, label=f"{MARKS[outcome]} {outcome.value}, interval")
        for outcome, colour in COLOURS.items()
    ]
    return [
        *verdicts,
        dots("one seed", GREY),
        dots("one seed, others to come", "white"),
        Patch(facecolor=PENDING, label=f"{MARKS[Outcome.UNTESTABLE]} no verdict (yet)"),
        Patch(facecolor=LIGHT, label="too small to matter"),
        Patch(fill=False, linewidth=1.6, label="the paper's own"),
    ]
