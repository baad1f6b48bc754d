"""Displays against the test vectors of rliable, and the coefficient of variation by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.analysis.secondary import coefficient_of_variation, interquartile_mean, probability_of_improvement

X = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
Y = np.array([[1, 1], [2, 2], [3, 3]])


def test_interquartile_mean() -> None:
    assert interquartile_mean(X) == 1.5
    assert interquartile_mean(Y) == 2


def test_probability_of_improvement() -> None:
    assert probability_of_improvement(X, Y) == pytest.approx(1 / 3)
    assert probability_of_improvement(Y, X) == pytest.approx(2 / 3)
    assert probability_of_improvement([2.0, 3.0], [0.0, 1.0, 2.0]) == pytest.approx(5.5 / 6)


def test_coefficient_of_variation() -> None:
    assert coefficient_of_variation([1.0, 2.0, 3.0]) == pytest.approx(0.5)
    assert coefficient_of_variation([-1.0, -2.0, -3.0]) == pytest.approx(0.5)
