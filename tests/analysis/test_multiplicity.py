"""Holm and Benjamini-Hochberg: hand values, agreement of intervals with decisions, error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimm.analysis.verdicts import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand() -> None:
    """4 x 0.01, 3 x 0.012 (raised to 0.04), 2 x 0.03, then 0.5: two are rejected, two share 0.05 / 2."""
    found = holm([0.03, 0.01, 0.5, 0.012])
    assert found.p_values == pytest.approx([0.06, 0.04, 0.5, 0.04])
    assert found.levels == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 2, 0.05 / 3])


def test_benjamini_hochberg_by_hand() -> None:
    found = benjamini_hochberg([0.03, 0.01, 0.5, 0.012])
    assert found.p_values == pytest.approx([0.04, 0.024, 0.5, 0.024])
    assert found.levels == pytest.approx([0.05 * 3 / 4] * 4)


@given(P_VALUES)
def test_adjusted_p_values_agree_with_levels(p_values: list[float]) -> None:
    for adjust in (holm, benjamini_hochberg):
        found = adjust(p_values)
        near = np.abs(found.p_values - 0.05) < 1e-9
        assert (((found.p_values <= 0.05) == (np.array(p_values) <= found.levels)) | near).all()


@given(P_VALUES)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p_values).p_values == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


def test_no_claims_no_numbers() -> None:
    for adjust in (holm, benjamini_hochberg):
        assert len(adjust([]).p_values) == len(adjust([]).levels) == 0


def test_holm_keeps_the_chance_of_any_error() -> None:
    """Three true effects beside five null ones: any null rejected in at most 5 % of 4,000 studies."""
    rng = np.random.default_rng(0)
    p = np.hstack([rng.random((4000, 3)) * 1e-4, rng.random((4000, 5))])
    errors = np.mean([(holm(row).p_values[3:] <= 0.05).any() for row in p])
    assert 0.035 < errors < 0.06
