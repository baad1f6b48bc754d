"""Samples side by side: the same prompts and the same noise for every arm, never picked by result.

Every run keeps images of the same evenly spaced prompts, made from noise that depends on prompt and image only. The
page shows some of them, evenly spaced again, of the first seed that all arms have finished.
"""

import io
import textwrap
from dataclasses import dataclass

import matplotlib.image
import numpy as np

from unimm.report.rendering import inline
from unimm.report.schema import Sample
from unimm.report.study_folder import Study
from unimm.report.study_style import BLUE, VERMILION, Picture, new_figure, picture

PROMPTS = 12
GAP = 6


@dataclass(frozen=True)
class Shown:
    """One image: its file's bytes and whether the judge accepted it."""

    png: bytes
    correct: bool

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
    runs = [study.runs[arm][seeds[0]].folder for arm in arms]
    kept: list[dict[tuple[int, str], Sample]] = [{(s.index, s.prompt): s for s in run.samples} for run in runs]
    common = [key for key in kept[0] if all(key in row for row in kept)]
    count = min(PROMPTS, len(common))
    chosen = [common[number * len(common) // count] for number in range(count)]
    rows = tuple(
        tuple(Shown(run.image(own[key]), own[key].correct) for run, own in zip(runs, kept, strict=True))
        for key in chosen
    )
    return SampleGrid(seeds[0], arms, tuple(prompt for _, prompt in chosen), rows) if chosen else None


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
            colour = BLUE if grid.rows[i][j].correct else VERMILION
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
    return picture(figure)
