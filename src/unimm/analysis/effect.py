"""What a verdict needs to know of an effect, however it was estimated.

Three estimates satisfy it: a contrast of means, the smallest of several contrasts, a ratio of costs. Each
pairs an interval with a p-value so that `interval(a)` excludes a null value exactly when `p_value(null) <= a`; only
then may Holm's procedure decide on p-values and the verdict on intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Effect(Protocol):
    """An estimated effect, positive in the claimed direction."""

    @property
    def estimate(self) -> float:
        """Point estimate, in the metric's unit (a natural logarithm for ratios of costs)."""

    @property
    def n_seeds(self) -> int:
        """Seeds of the arm with the fewest."""

    @property
    def n_items(self) -> int | None:
        """Prompts behind each run's score, or None where runs give one value each."""

    @property
    def note(self) -> str:
        """What a reader has to know beside the numbers; empty if nothing."""

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided confidence interval at level 1 - alpha; infinite where the data set no bound."""

    def p_value(self, null: float) -> float:
        """Two-sided p-value of "the effect equals `null`"."""

    def seeds_needed(self, alpha: float, decisive: Callable[[float], float]) -> int | None:
        """Seeds an arm after which the interval would decide if estimate and spread stayed; None if no number would.

        `decisive` is the half-width that decides, by estimate (`unimm.analysis.claims`).
        """
