"""Writes a run's page: `report.html`, a single file, and `report.md` for diffs and terminals.

Its figures show the loss and the snapshots' scores against generation samples. The end of a run in the terminal is here
too: the headline table and where the page lies.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from unimm.evaluation.words import Glossary
from unimm.files import write_atomic
from unimm.report.details import (
    cards_table,
    judge_table,
    left_out_table,
    reached_table,
    retention_table,
    stages_table,
)
from unimm.report.opening import opening, spread
from unimm.report.rendering import environment, inline, markdown
from unimm.report.study.style import log_ticks
from unimm.report.table import Scored, duration, headline, number, shown_value
from unimm.runs import reading
from unimm.runs.record import CurvePoint, Result, Step
from unimm.runs.samples import Sample

# Okabe and Ito's blue, vermilion and green, which colour-blind readers tell apart.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
CURVES = {"geneval/overall": "whole prompts", "atoms/colour": "colours", "atoms/shape": "shapes"}


def training_curves(steps: Sequence[Step]) -> bytes:
    """A PNG with one panel per loss that was logged, each on its own scale, and one of the validation loss."""
    generation = [step.generation_loss for step in steps]
    panels = [("generation loss\n(the objective's own units)", BLUE, generation)]
    understanding = [step.understanding_loss for step in steps]
    if any(value is not None for value in understanding):
        panels.append(("understanding loss\n(nats per answer token)", VERMILION, understanding))
    held_out = [step for step in steps if step.validation_loss is not None]
    count = len(panels) + bool(held_out)
    figure = Figure(figsize=(4.8 * count, 3.4), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    if held_out:
        _held_out(axes[-1], held_out)
    for axis, (label, colour, values) in zip(axes, panels, strict=False):
        _panel(axis, label, colour, [step.samples for step in steps], values)
    return _png(figure)


def learning_curve(points: Sequence[CurvePoint]) -> bytes:
    """A PNG of the strict score and of two atoms at every snapshot, samples on a logarithmic axis."""
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axis = figure.subplots()
    samples = [point.samples for point in points]
    for (name, label), colour, marker in zip(CURVES.items(), (BLUE, VERMILION, GREEN), "os^", strict=True):
        values = [np.nan if (value := point.scores.get(name)) is None else value for point in points]
        axis.plot(samples, values, marker=marker, color=colour, linewidth=1.8, markersize=5, label=label)
    log_ticks(axis, "{x:,.0f}")
    axis.set_ylim(0, 1)
    axis.set_xlabel("training (generation samples, log scale)")
    axis.set_ylabel(f"fraction right ({points[-1].n} validation images)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def _panel(axis: Axes, label: str, colour: str, samples: list[int], values: list[float | None]) -> None:
    losses = np.array([np.nan if value is None else value for value in values], dtype=float)
    finite = np.isfinite(losses)
    positions, losses = np.array(samples, dtype=float)[finite], losses[finite]
    axis.plot(positions, losses, ".", color=colour, alpha=0.25, markersize=4, label="logged")
    window = smoothing_window(len(losses))
    smoothed = smooth(losses, window)
    axis.plot(positions, smoothed, color=colour, linewidth=1.8, label=f"mean of {window} logged")
    axis.set_xlabel("training (generation samples)")
    axis.set_ylabel(label)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)


def _held_out(axis: Axes, steps: Sequence[Step]) -> None:
    """The validation loss over all times, and in each bin of them."""
    samples = [step.samples for step in steps]
    total = np.array([step.validation_loss for step in steps], dtype=float)
    axis.plot(samples, total, "o-", color=GREEN, linewidth=1.8, label="all t")
    bins = [name for name in steps[-1].model_extra or {} if name.startswith("validation_loss/")]
    for name, style in zip(bins, ("-", "--", "-.", ":"), strict=False):
        values = np.array([(step.model_extra or {}).get(name) for step in steps], dtype=float)
        axis.plot(samples, values, style, color="0.35", linewidth=1.0, label="t " + name.partition("/")[2])
    axis.set_xlabel("training (generation samples)")
    axis.set_ylabel("validation loss (no comparison\nbetween encoders or objectives)")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=5)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize="small")


def smoothing_window(count: int) -> int:
    """An odd window of about a twentieth of the points."""
    return 2 * (count // 40) + 1


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean that shrinks at the ends, so that it neither lags nor invents points."""
    kernel = np.ones(window)
    half = window // 2
    sums = np.convolve(values, kernel)[half : half + len(values)]
    counts = np.convolve(np.ones(len(values)), kernel)[half : half + len(values)]
    return np.asarray(sums / counts)


class Tile(NamedTuple):
    """A kept image on the page."""

    sample: Sample
    uri: str


FIGURE, CURVE = "figures/training.png", "figures/curve.png"
DETAILS = (stages_table, left_out_table, retention_table, reached_table, judge_table, cards_table)


def write(run_dir: Path) -> Path:
    """Read the finished run in `run_dir`, write both reports there, and return the path of the html one.

    The stages of a run have pages of their own in their folders, where these are there.
    """
    run = reading.read(run_dir)
    for stage in run.result.stages:
        if (run_dir / stage.name / "metrics.jsonl").is_file():
            write(run_dir / stage.name)
    figure = training_curves(run.steps) if run.steps else None
    curve = learning_curve(run.result.curve) if run.result.curve else None
    context = {
        "result": run.result,
        "opening": opening(run.result),
        "scores": headline(run.result),
        "details": [found for build in DETAILS if (found := build(run.result)) is not None],
        "samples": run.samples,
        "sheets": list(dict.fromkeys(sample.file for sample in run.samples if sample.place)),
        "config": run.config,
        "provenance": _provenance(run.result),
        "protocols": [(score.name, _compact(score.protocol)) for score in run.result.scores],
    }
    templates = environment()
    tiles = [Tile(sample, inline(run.image(sample), "png")) for sample in run.samples]
    first = spread(tiles)
    html = templates.get_template("report.html.j2").render(
        **context,
        figure=inline(figure, "png") if figure else None,
        curve=inline(curve, "png") if curve else None,
        tiles=[tiles[place] for place in first],
        more=[tile for place, tile in enumerate(tiles) if place not in first],
    )
    if figure:
        write_atomic(run_dir / FIGURE, figure)
    if curve:
        write_atomic(run_dir / CURVE, curve)
    text = templates.get_template("report.md.j2").render(
        **context, markdown=markdown, figure=FIGURE if figure else None, curve=CURVE if curve else None
    )
    write_atomic(run_dir / "report.md", text)
    page = run_dir / "report.html"
    write_atomic(page, html)
    return page


def _provenance(result: Result) -> list[tuple[str, str]]:
    """Where the numbers come from, as (what, value) pairs."""
    unchanged = {True: "yes", False: "NO", None: "not promised by this arm"}
    counts, parameters = result.counts, result.parameters
    return [
        ("started", result.started.isoformat()),
        ("device", result.device),
        ("world", result.world),
        ("settings", result.settings),
        ("generation samples", f"{counts.generation_samples:,}"),
        ("understanding samples", f"{counts.understanding_samples:,}"),
        ("steps", f"{counts.steps:,}"),
        ("trainable parameters", f"{parameters.trainable:,}"),
        ("frozen parameters", f"{parameters.frozen:,}"),
        ("backbone unchanged by training", unchanged[result.invariants.backbone_unchanged]),
        *((f"hash: {name}", _plain(value)) for name, value in result.hashes.items()),
        *((f"code: {name}", str(code)) for name, code in result.code.items()),
        *((f"code that scored again: {name}", str(code)) for name, code in result.scored_by.items()),
        *((f"version: {name}", _plain(value)) for name, value in result.versions.items()),
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def print_summary(result: Result, page: Path, console: Console | None = None) -> None:
    """Print what `result` (`result.json`) comes to: its main scores, what they cost, and where all others are."""
    console = console or Console()
    table, glossary = headline(result), Glossary(result.words)
    title = f"{result.arm}, seed {result.seed}, {result.profile} on {result.world}"
    shown = RichTable(title=escape(title), title_justify="left", box=SIMPLE)
    shown.add_column("score")
    for heading in ("value", "n", *(title.removesuffix(" ceiling") for title in table.references)):
        shown.add_column(escape(heading), justify="right", no_wrap=True)
    scores = [row for row in table.rows if row.name in {score.name for score in result.scores}]
    main = glossary.headlines([row.name for row in scores])
    for row in scores:
        if row.name in main or not main:
            value = row.value.replace(" (", "\n(")  # a narrow terminal has no room for the remark beside it
            shown.add_row(Text(glossary[row.name].short), value, row.n, *row.references)
    console.print(shown)
    console.print(Text(_cost_line(result)), soft_wrap=True)
    console.print(Text(f"All {len(scores)} scores: {page.with_suffix('.md')}"), soft_wrap=True)
    console.print(Text(f"Report: {page}"), soft_wrap=True)


def _cost_line(result: Result) -> str:
    speed, samples = result.speed, result.counts.generation_samples
    trained = f"{samples:,} samples in {duration(speed.train_seconds)} ({number(speed.samples_per_second)} a second)"
    return f"Trained on {trained}, scored in {duration(speed.score_seconds)}"


def print_scores(scores: Sequence[Scored], console: Console | None = None) -> None:
    """Print a row a score."""
    shown = RichTable(box=SIMPLE)
    shown.add_column("score", no_wrap=True)
    shown.add_column("value", justify="right")
    shown.add_column("n", justify="right")
    for score in scores:
        shown.add_row(Text(score.name), shown_value(score), f"{score.n:,}")
    (console or Console()).print(shown)
