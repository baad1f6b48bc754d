"""How far one arm is ahead of its strongest rival: the smallest of several contrasts, by intersection-union.

"Best" means better than every other arm, so that the effect is theta = min_i theta_i. At level 1 - alpha the interval
is [min_i L_i(alpha), min_i U_i(alpha / k)] for k rivals: its lower bound exceeds 0 only if every contrast is positive
at alpha on its own (no correction: the intersection-union test), while its upper bound could come from any of k
contrasts and pays for it (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unimm.analysis.contrast import Comparison


@dataclass(frozen=True)
class Lead:
    """Contrasts of one arm with each of its rivals, by rival."""

    rivals: Mapping[str, Comparison]

    @property
    def estimate(self) -> float:
        """Distance from the strongest rival."""
        return min(rival.estimate for rival in self.rivals.values())

    @property
    def n_seeds(self) -> int:
        """Seeds of the arm with the fewest."""
        return min(rival.n_seeds for rival in self.rivals.values())

    @property
    def n_items(self) -> int | None:
        """Prompts behind each run's score, or None for scores by run."""
        return next(iter(self.rivals.values())).n_items

    @property
    def standard_error(self) -> float:
        """Standard error of the most certain contrast: 0 if neither arm of it varies."""
        return min(rival.standard_error for rival in self.rivals.values())

    @property
    def note(self) -> str:
        """Which rival is the strongest."""
        return f"strongest rival: {min(self.rivals, key=lambda name: self.rivals[name].estimate)}"

    def interval(self, alpha: float) -> tuple[float, float]:
        """Interval of the lead at level 1 - alpha."""
        rivals = self.rivals.values()
        lows = [rival.interval(alpha)[0] for rival in rivals]
        highs = [rival.interval(alpha / len(rivals))[1] for rival in rivals]
        return min(lows), min(highs)

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of "the lead equals `null`"."""
        above, below = zip(*(rival.tails(null) for rival in self.rivals.values()), strict=True)
        return float(min(1.0, 2 * max(above), 2 * len(below) * min(below)))

    def seeds_needed(self, alpha: float, decisive: Callable[[float], float]) -> int | None:
        """Seeds after which the quickest of the rivals that are ahead is surely ahead; or else none, all surely not."""
        rivals = self.rivals.values()
        ahead = [rival.seeds_needed(alpha / len(rivals), decisive) for rival in rivals if rival.estimate < 0]
        if ahead:
            return min((seeds for seeds in ahead if seeds is not None), default=None)
        behind = [rival.seeds_needed(alpha, decisive) for rival in rivals]
        return None if None in behind else max(seeds for seeds in behind if seeds is not None)
