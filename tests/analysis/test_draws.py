"""Means of draws against what one-way random effects say: an interval over seeds one by one misses too often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unimm.analysis.contrast import contrast
from unimm.analysis.draws import by_draw

DRAWS = ["a", "b", "c"] * 2
WEIGHTS = {"x": 1.0, "y": -1.0}


def covered(by: list[str], draw_sd: float, studies: int = 1500) -> float:
    """How often the interval of x - y holds its true value 0, seeds with an sd of 1 and draws with another."""
    rng, hits = np.random.default_rng(5), 0
    for _ in range(studies):
        shared = draw_sd * rng.standard_normal(3)[[0, 1, 2, 0, 1, 2]]
        cells = {"x": shared + rng.standard_normal(6), "y": np.zeros(6)}
        found = contrast({arm: by_draw(by, rows) for arm, rows in cells.items()}, WEIGHTS, paired=True)
        hits += found.low <= 0 <= found.high
    return hits / studies


@pytest.mark.parametrize("draw_sd", [0.0, 1.0, 30.0])
def test_an_interval_over_means_of_draws_holds_whatever_draws_do(draw_sd: float) -> None:
    assert covered(DRAWS, draw_sd) == pytest.approx(0.95, abs=0.017)  # three standard errors


def test_an_interval_over_seeds_one_by_one_does_not() -> None:
    reach = stats.t.isf(0.025, 5) * np.sqrt(0.4)  # in standard errors of the mean of 3 draws, which make all the spread
    exact = 1 - 2 * stats.t.sf(reach, 2)
    assert exact == pytest.approx(0.754, abs=0.001)
    assert covered([], 30.0) == pytest.approx(exact, abs=0.034)


def test_rows_are_means_in_the_order_of_draws() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    assert by_draw(DRAWS, rows).tolist() == [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    assert by_draw([], rows) is rows and by_draw(["b", "a"], rows[:2]).tolist() == rows[:2].tolist()
