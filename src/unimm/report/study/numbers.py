"""Numbers of a study in words: mean and standard error over seeds, effects with their intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unimm.analysis.draws import by_draw
from unimm.report.study.folder import Array
from unimm.report.study.scored import ScoredStudy
from unimm.report.table import number


@dataclass(frozen=True)
class Mean:
    """Mean over seeds, or draws of the foundation, with its standard error, NaN where one cannot give any."""

    value: float
    error: float
    seeds: int

    def __str__(self) -> str:
        return f"{number(self.value)} ± {number(self.error)}" if math.isfinite(self.error) else number(self.value)


def mean_of(values: Array, draws: Sequence[str] = ()) -> Mean:
    """Mean of the seeds that were measured, `[seeds]`; its error is over the `draws` that they stand on, if any."""
    measured = np.isfinite(values)
    known = by_draw([draw for draw, has in zip(draws, measured, strict=False) if has], values[measured])
    if not len(known):
        return Mean(math.nan, math.nan, 0)
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return Mean(float(known.mean()), error, len(known))


def over(study: ScoredStudy) -> str:
    """What standard errors of means are over: seeds, or draws of the foundation where several seeds stand on each."""
    each = [study.draws(arm) for arm in study.plan.arms]
    return "draws of the foundation" if any(len(set(draws)) < len(draws) for draws in each) else "seeds"


def signed(value: float | None) -> str:
    """A difference, with its sign unless it rounds to 0; an infinite bound in words."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "no bound"
    shown = number(abs(value))
    return shown if not float(shown.replace(",", "")) else f"{'+' if value >= 0 else '-'}{shown}"


def between(low: float | None, high: float | None, shown: Callable[[float | None], str]) -> str:
    """An interval in words."""
    ends = shown(low), shown(high)
    return "no bounds" if set(ends) == {"no bound"} else f"{ends[0]} to {ends[1]}"


def times(value: float | None) -> str:
    """A ratio; an infinite bound or one of zero in words."""
    if value is None or math.isnan(value):
        return "n/a"
    return "no bound" if math.isinf(value) or value == 0 else f"x{value:.3g}"
