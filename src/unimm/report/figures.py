"""The figures of a page: loss against generation samples, and scores of the snapshots against the same samples."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unimm.report.schema import CurvePoint, Step
from unimm.report.study_style import log_ticks

# Okabe and Ito's blue, vermilion and green, which colour-blind readers tell apart.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
CURVES = {"geneval/overall": "whole prompts", "atoms/colour": "colours", "atoms/shape": "shapes"}


def training_curves(steps: Sequence[Step]) -> bytes:
    """A PNG with one panel per loss that was logged, each on its own scale."""
    generation = [step.generation_loss for step in steps]
    panels = [("generation loss\n(the objective's own units)", BLUE, generation)]
    understanding = [step.understanding_loss for step in steps]
    if any(value is not None for value in understanding):
        panels.append(("understanding loss\n(nats per answer token)", VERMILION, understanding))
    figure = Figure(figsize=(4.8 * len(panels), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, colour, values) in zip(axes, panels, strict=True):
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
