"""Permutations of large sets, which no table holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.data import order
from unimm.data.order import feistel, permuted


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**62), epoch=st.integers(0, 100), size=st.integers(1, 3000))
def test_feistel_is_a_permutation_that_can_be_asked_in_any_order(seed, epoch, size):
    whole = feistel(seed, epoch, np.arange(size), size)
    assert sorted(whole.tolist()) == list(range(size))
    some = np.random.default_rng(0).integers(size, size=20)
    assert np.array_equal(feistel(seed, epoch, some, size), whole[some])


def test_feistel_mixes():
    size = 5000
    orders = [feistel(seed, epoch, np.arange(size), size) for seed in (0, 1) for epoch in (0, 1)]
    for number, one in enumerate(orders):
        assert abs(np.corrcoef(one, np.arange(size))[0, 1]) < 0.06
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.06
        for other in orders[:number]:
            assert (one == other).mean() < 0.01


@pytest.mark.parametrize("size", [order.LARGE, order.LARGE + 1])
def test_positions_of_a_large_set_lie_in_their_epochs(size):
    positions = np.array([0, size - 1, size, 2 * size - 1, 5 * size + 3])
    indices = permuted(3, positions, size)
    assert indices.min() >= 0
    assert indices.max() < size
    assert [permuted(3, positions[i : i + 1], size)[0] for i in range(5)] == indices.tolist()
