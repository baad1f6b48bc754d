"""What the simulations beside this file share: how often intervals miss a true value, and a Markdown table of it.

    misses = #{studies whose interval at 1 - alpha leaves out the truth} / studies

A rate seen in n studies has a standard error of sqrt(rate (1 - rate) / n): 0.14 % around 0.83 % in 4,000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from unimm.analysis.contrast import Comparison

# One claim alone, three, and six that share alpha by Holm's first step.
LEVELS = (0.05, 0.05 / 3, 0.05 / 6)
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def missed(found: Sequence[Comparison], alpha: float, truth: float = 0.0) -> float:
    """Share of intervals at 1 - alpha without `truth`."""
    bounds = np.array([result.interval(alpha) for result in found])
    return float(np.mean((bounds[:, 0] > truth) | (bounds[:, 1] < truth)))


def allowed(alpha: float, studies: int) -> float:
    """The most misses of an interval that keeps its level: alpha and three standard errors."""
    return alpha + 3 * float(np.sqrt(alpha * (1 - alpha) / studies))


def half_width(found: Sequence[Comparison], alpha: float = 0.05) -> float:
    """Median half-width."""
    return float(np.median([np.diff(result.interval(alpha))[0] / 2 for result in found]))


def percent(rates: Sequence[float]) -> str:
    """Rates as `5.1 / 1.7 / 0.8`."""
    return " / ".join(f"{100 * rate:.1f}" for rate in rates)


def main(table: Callable[[int], Table], note: str) -> None:
    """Print the table of as many studies a row as the command line asks for."""
    parser = argparse.ArgumentParser(description=note)
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies for each row (default: 4000)")
    studies = parser.parse_args().studies
    headers, rows = table(studies)
    print(f"{note} {studies:,} studies a row.\n")
    for cells in (headers, ["---"] * len(headers), *rows):
        print(f"| {' | '.join(cells)} |")
