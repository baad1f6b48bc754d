"""How long a moving average of the weights is: in steps, or as a share of the run; arithmetic alone, without torch.

An average keeps a share b_n of itself at step n and takes the rest from the parameters p_n:

    a_n = b_n a_(n-1) + (1 - b_n) p_n,   so that p_n has the weight (1 - b_n) b_(n+1) ... b_N  after N steps.

`FixedDecay` keeps b_n = min(decay, (1 + n) / (10 + n)). The second term is a warm-up that long decays never leave in a
short run: 0.99 counts after step 890, 0.999 after step 8,990. Before that all of them are one and the same average, of
weights that are on average a tenth of the run so far old.

`RelativeLength` keeps b_n = (1 - 1/n)^k, the power function of Karras et al. 2024 (arXiv 2312.02696, section 3.1, with
k = gamma + 1). Step n then has the weight (n^k - (n-1)^k) / N^k: the profile of weights over the run is the same after
any number of steps, and with it that of every snapshot. Its mean lies at k / (k + 1) of the run, so that a mean age
of the share `length` takes k = 1 / length - 1. In that paper's terms the relative standard deviation is
sigma_rel = length sqrt((1 - length) / (1 + length)): 0.05, 0.1 and 0.2 here are 0.048, 0.090 and 0.163 there. A length
of 0.5 is the plain mean of all steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WARMUP = 10


@dataclass(frozen=True)
class FixedDecay:
    """The same share of itself at every step after the warm-up; 0 is no average at all."""

    decay: float

    def kept(self, step: int) -> float:
        """The share of itself that the average keeps at a step; the first one is 1."""
        return min(self.decay, (1 + step) / (WARMUP + step))

    def __str__(self) -> str:
        return f"{self.decay}"


@dataclass(frozen=True)
class RelativeLength:
    """Weights whose mean age is the share `length` of the run so far, from above 0 to 0.5."""

    length: float

    def kept(self, step: int) -> float:
        """The share of itself that the average keeps at a step; the first one is 1 and keeps nothing."""
        return float((1 - 1 / step) ** (1 / self.length - 1))

    def __str__(self) -> str:
        return f"length{self.length}"


Averaging = FixedDecay | RelativeLength


def averaging(training: Mapping[str, Any]) -> Averaging:
    """The average of a training section, of which one of ``ema_decay`` and ``ema_length`` is set."""
    length = training.get("ema_length")
    return FixedDecay(training["ema_decay"]) if length is None else RelativeLength(length)


def weights(chosen: Averaging, steps: int) -> list[float]:
    """Each step's weight in the average after ``steps`` steps; what they lack to 1 is the weight of the start."""
    found, later = [0.0] * steps, 1.0
    for step in range(steps, 0, -1):
        kept = chosen.kept(step)
        found[step - 1] = (1 - kept) * later
        later *= kept
    return found


def mean_age(chosen: Averaging, steps: int) -> float:
    """How old the averaged parameters are on average after ``steps`` steps, as a share of those steps."""
    found = weights(chosen, steps)
    return sum(weight * (steps - step) for step, weight in enumerate(found, start=1)) / (sum(found) * steps)


def is_same(first: Averaging, second: Averaging, steps: int) -> bool:
    """Whether two averages of one training are equal to the bit after ``steps`` steps, and at all steps before."""
    return all(first.kept(step) == second.kept(step) for step in range(1, steps + 1))
