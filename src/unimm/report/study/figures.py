"""The figures of a study besides its effects: scores by arm, learning curves, trade-offs, and samples side by side.

In the first three a dot is a seed. Samples show the same prompts and the same noise for every arm, never picked by
result: every run keeps images of the same evenly spaced prompts, made from noise that depends on prompt and image only,
and the page shows some of them, evenly spaced again, of the first seed that all arms have finished.
"""

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from unimm.report.opening import spread
from unimm.report.rendering import inline
from unimm.report.study.folder import Array, Study, StudyRun
from unimm.report.study.limits import mean_reference
from unimm.report.study.numbers import Mean, mean_of
from unimm.report.study.scored import ScoredStudy
from unimm.report.study.style import (
    BLUE,
    GREY,
    LIGHT,
    VERMILION,
    Look,
    Picture,
    legend,
    log_ticks,
    looks,
    new_figure,
    panels,
    picture,
    plain,
)
from unimm.report.study.tables import headline_metrics
from unimm.runs.record import RunFolder
from unimm.runs.samples import Sample

CURVES = ("geneval/overall", "atoms/overall")
DIVERSITY = ("diversity/latents/vendi", "diversity/latents/place_entropy")
COLUMNS = 2


def scores_figure(study: ScoredStudy) -> Picture | None:
    """Every headline score by arm: seeds as dots, mean and 95 % interval over seeds, floor and ceiling in grey."""
    metrics, arms = headline_metrics(study), list(study.plan.arms)
    if not metrics:
        return None
    rows = ceil(len(metrics) / COLUMNS)
    figure = new_figure(10, rows * (1.1 + 0.32 * len(arms)))
    for axis, metric in zip(panels(figure, rows, COLUMNS, len(metrics)), metrics, strict=True):
        for row, (arm, look) in enumerate(looks(study.plan.arms).items()):
            _limits(axis, study, arm, metric, row)
            _strip(axis, study.values(arm, metric), mean_of(study.values(arm, metric), study.draws(arm)), row, look)
        axis.set_yticks(range(len(arms)), arms)
        axis.set_ylim(len(arms) - 0.4, -0.6)
        axis.set_xlabel(study.words[metric].axis)
        plain(axis)
        axis.grid(visible=False, axis="y")
    return picture(figure)


def _strip(axis: Axes, values: Array, mean: Mean, row: int, look: Look) -> None:
    if mean.seeds > 1:
        half = float(stats.t.isf(0.025, mean.seeds - 1)) * mean.error
        axis.plot([mean.value - half, mean.value + half], [row, row], color=look.colour, linewidth=2, alpha=0.6)
    axis.plot(mean.value, row, marker="|", color=look.colour, markersize=16, markeredgewidth=2.5)
    heights = np.full(len(values), row + 0.22)
    axis.plot(values, heights, look.marker, color=look.colour, markerfacecolor=look.face, markersize=5)


def _limits(axis: Axes, study: ScoredStudy, arm: str, metric: str, row: int) -> None:
    for kind, style in (("floors", ":"), ("ceilings", "-")):
        value = mean_reference(study, arm, kind, metric)
        if value is not None:
            axis.plot([value] * 2, [row - 0.4, row + 0.4], color=GREY, linewidth=1.5, linestyle=style)


def curves_figure(study: Study) -> Picture | None:
    """Validation scores against samples, FLOPs (where counted) and seconds; None if no run has a curve."""
    runs = [run for run in study.all_runs if run.result.curve]
    if not runs:
        return None
    axes_of = {"generation samples (log scale)": _samples, "training time (s, log scale)": _seconds}
    if all(run.result.efficiency for run in runs):
        axes_of = {"generation samples (log scale)": _samples, "training FLOPs (log scale)": _flops} | axes_of
    metrics = [metric for metric in CURVES if any(metric in point.scores for point in runs[0].result.curve)]
    figure = new_figure(4.3 * len(axes_of), 3.4 * len(metrics) + 0.8)
    axes = figure.subplots(len(metrics), len(axes_of), squeeze=False, sharey="row", sharex="col")
    for line, metric in zip(axes, metrics, strict=True):
        for axis, cost in zip(line, axes_of.values(), strict=True):
            for arm, look in looks(study.plan.arms).items():
                _curve(axis, study.finished(arm), metric, cost, look)
            plain(axis)
        line[0].set_ylabel(study.words[metric].axis)
    for axis, label in zip(axes[-1], axes_of, strict=True):
        axis.set_xlabel(label)
        log_ticks(axis, "{x:.0e}" if "FLOPs" in label else "{x:,.0f}")
    legend(figure, study.plan.arms)
    return picture(figure)


def _curve(axis: Axes, runs: list[StudyRun], metric: str, cost: Callable[[StudyRun], Array], look: Look) -> None:
    """Every seed as dots, and the mean as a line where the seeds have the same checkpoints."""
    points = [(cost(run), _scores(run, metric)) for run in runs if run.result.curve]
    for x, y in points:
        axis.plot(x, y, look.marker, color=look.colour, markerfacecolor=look.face, markersize=3, alpha=0.5)
    if len({len(x) for x, _ in points}) == 1:
        means = [np.mean([point[i] for point in points], axis=0) for i in (0, 1)]
        axis.plot(*means, color=look.colour, linestyle=look.line, linewidth=1.8)


def _scores(run: StudyRun, metric: str) -> Array:
    return np.array([point.scores.get(metric) for point in run.result.curve], dtype=float)


def _samples(run: StudyRun) -> Array:
    return np.array([point.samples for point in run.result.curve], dtype=float)


def _seconds(run: StudyRun) -> Array:
    """Training time at every checkpoint: proportional to samples, evaluation left out."""
    total = run.result.speed.train_seconds
    return _samples(run) * (np.nan if total is None else total) / run.result.counts.generation_samples


def _flops(run: StudyRun) -> Array:
    assert run.result.efficiency is not None, "the caller asks only where FLOPs were counted"
    return _samples(run) * run.result.efficiency.train_flops_per_sample


def diversity_figure(study: Study) -> Picture | None:
    """Quality against diversity; None for a study without the scores."""
    metrics = [metric for metric in DIVERSITY if metric in study.metrics]
    if not metrics or "frechet_distance" not in study.metrics:
        return None
    return _trade_off(study, [(metric, "frechet_distance") for metric in metrics])


def abilities_figure(study: Study) -> Picture | None:
    """Generation against understanding; None for a study without the scores."""
    metrics = [metric for metric in CURVES if metric in study.metrics]
    if not metrics or "understanding/overall" not in study.metrics:
        return None
    return _trade_off(study, [("understanding/overall", metric) for metric in metrics])


def _trade_off(study: Study, pairs: list[tuple[str, str]]) -> Picture:
    figure = new_figure(4.9 * len(pairs), 4.6)
    for axis, (x, y) in zip(panels(figure, 1, len(pairs), len(pairs)), pairs, strict=True):
        for arm, look in looks(study.plan.arms).items():
            _cloud(axis, study.values(arm, x), study.values(arm, y), look)
        reverse = study.words[y].lower_is_better
        axis.set_xlabel(study.words[x].axis)
        axis.set_ylabel(study.words[y].axis + (", axis reversed" if reverse else ""))
        if reverse:
            axis.invert_yaxis()
        plain(axis)
    legend(figure, study.plan.arms)
    return picture(figure)


def _cloud(axis: Axes, x: Array, y: Array, look: Look) -> None:
    """The seeds of one arm, each tied to their mean."""
    known = np.isfinite(x) & np.isfinite(y)
    for a, b in zip(x[known], y[known], strict=True):
        axis.plot([a, x[known].mean()], [b, y[known].mean()], color=LIGHT, linewidth=1.2, zorder=1)
    axis.plot(x[known], y[known], look.marker, color=look.colour, markerfacecolor=look.face, markersize=7, zorder=2)


PROMPTS, STRIP = 12, 4
GAP = 6


@dataclass(frozen=True)
class Shown:
    """One image: its file's bytes and whether the judge accepted it, None if none could say."""

    png: bytes
    correct: bool | None

    @property
    def uri(self) -> str:
        """The image inside a page."""
        return inline(self.png, "png")


@dataclass(frozen=True)
class SampleGrid:
    """Images by prompt (rows) and arm (columns), of one seed."""

    seed: int
    arms: tuple[str, ...]
    prompts: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]


def sample_grid(study: Study) -> SampleGrid | None:
    """The grid, or None while no two arms share a finished seed or if they kept no common prompts."""
    arms = tuple(arm for arm in study.plan.arms if study.finished(arm))
    seeds = [seed for seed in study.plan.seeds if arms and all(seed in study.runs[arm] for arm in arms)]
    if not seeds:
        return None
    rows = same_prompts([study.runs[arm][seeds[0]].folder for arm in arms], PROMPTS)
    prompts = tuple(prompt for prompt, _ in rows)
    return SampleGrid(seeds[0], arms, prompts, tuple(shown for _, shown in rows)) if rows else None


def same_prompts(runs: Sequence[RunFolder], most: int) -> list[tuple[str, tuple[Shown, ...]]]:
    """Prompts of which every run kept an image, at most so many and evenly spaced, each with the images in order."""
    kept: list[dict[tuple[int, str], Sample]] = [{(s.index, s.prompt): s for s in run.samples} for run in runs]
    common = [key for key in kept[0] if all(key in row for row in kept)]
    return [
        (key[1], tuple(Shown(run.image(own[key]), own[key].correct) for run, own in zip(runs, kept, strict=True)))
        for key in (common[place] for place in spread(common, most))
    ]


def strip(grid: SampleGrid) -> SampleGrid:
    """A few of its rows, at even distances, for where there is little room."""
    rows = spread(grid.rows, STRIP)
    return replace(grid, prompts=tuple(grid.prompts[row] for row in rows), rows=tuple(grid.rows[row] for row in rows))


def grid_figure(grid: SampleGrid) -> Picture:
    """The grid as one picture, a coloured line under every image: blue if correct, vermilion if not."""
    images = [[matplotlib.image.imread(io.BytesIO(shown.png))[..., :3] for shown in row] for row in grid.rows]
    height, width = images[0][0].shape[:2]
    canvas = np.ones((len(images) * (height + GAP), len(grid.arms) * (width + GAP), 3))
    figure = new_figure(1.15 * len(grid.arms) + 2.6, 1.15 * len(images) + 0.5)
    axis = figure.subplots()
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            canvas[top : top + height, left : left + width] = image
            colour = {True: BLUE, False: VERMILION, None: GREY}[grid.rows[i][j].correct]
            axis.plot([left, left + width - 1], [top + height + 1] * 2, color=colour, linewidth=2)
    axis.imshow(canvas, interpolation="nearest")
    axis.set_xticks(width / 2 + (width + GAP) * np.arange(len(grid.arms)), grid.arms)
    axis.set_yticks(
        height / 2 + (height + GAP) * np.arange(len(images)),
        [textwrap.fill(text, 28) for text in grid.prompts],
        parse_math=False,
    )
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return picture(figure, fitted=True)
