"""Difference of two arms with its interval: the contrast with weights 1 and -1."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from unimm.analysis.contrast import Comparison, contrast


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
    fixed_prompts: bool = False,
) -> Comparison:
    """Mean of `a` minus mean of `b`.

    Scores `[seeds]` give Welch's t interval; scores `[seeds, prompts]`, prompts in the same order, give the two-way
    t interval, with seeds unpaired. `tasks`, `fixed_prompts` and the errors are those of `contrast`.
    """
    return contrast({"a": a, "b": b}, {"a": 1, "b": -1}, alpha=alpha, tasks=tasks, fixed_prompts=fixed_prompts)
