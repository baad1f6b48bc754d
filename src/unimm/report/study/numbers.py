"""Numbers of a study in words: mean and standard error over seeds, effects with their intervals, names of metrics."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unimm.report.study.folder import Array
from unimm.report.table import described, number

# What the arms table and the figures show first, with the name that an axis gets.
HEADLINE = {
    "geneval/overall": "whole prompts right (fraction)",
    "atoms/overall": "single facts right (fraction)",
    "geneval_long/overall": "whole prompts right, long wording (fraction)",
    "atoms_long/overall": "single facts right, long wording (fraction)",
    "frechet_distance": "Fréchet distance (lower is better)",
    "clip_score/a": "CLIP score, evaluator a (x 100)",
    "diversity/latents/place_entropy": "place entropy (world = 1)",
    "diversity/latents/vendi": "Vendi score (effective number of images)",
    "understanding/overall": "questions answered right (fraction)",
}
_SHORT = {
    "geneval/overall": "GenEval-style score",
    "atoms/overall": "single facts right",
    "geneval_long/overall": "GenEval-style score, long wording",
    "atoms_long/overall": "single facts right, long wording",
    "understanding/overall": "understanding accuracy",
    "diversity/latents/place_entropy": "place entropy",
    "diversity/latents/vendi": "Vendi score",
}
_LOWER_IS_BETTER = ("frechet_distance", "kernel_distance")


@dataclass(frozen=True)
class Mean:
    """Mean over seeds with its standard error, NaN where one seed cannot give any."""

    value: float
    error: float
    seeds: int

    def __str__(self) -> str:
        return f"{number(self.value)} ± {number(self.error)}" if math.isfinite(self.error) else number(self.value)


def mean_of(values: Array) -> Mean:
    """Mean of the seeds that were measured."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Mean(math.nan, math.nan, 0)
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return Mean(float(known.mean()), error, len(known))


def axis_label(metric: str) -> str:
    """What an axis says of a metric."""
    return HEADLINE.get(metric, described(metric)[1])


def short(metric: str) -> str:
    """A metric in a few words, for sentences and headings."""
    return _SHORT.get(metric, described(metric)[1])


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is the better one."""
    return metric in _LOWER_IS_BETTER


def signed(value: float | None) -> str:
    """A difference, with its sign; an infinite bound in words."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "no bound"
    return f"{'+' if value >= 0 else '-'}{number(abs(value))}"


def between(low: float | None, high: float | None, shown: Callable[[float | None], str]) -> str:
    """An interval in words."""
    ends = shown(low), shown(high)
    return "no bounds" if set(ends) == {"no bound"} else f"{ends[0]} to {ends[1]}"


def times(value: float | None) -> str:
    """A ratio; an infinite bound or one of zero in words."""
    if value is None or math.isnan(value):
        return "n/a"
    return "no bound" if math.isinf(value) or value == 0 else f"x{value:.3g}"
