"""Noise: a function of (seed, stream, step, key) and of nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.noise import NoiseSource

SOURCE = NoiseSource(3, "test", 2)


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.integers(0, 10**9), min_size=2, max_size=12), cut=st.integers(1, 11))
def test_batch_layout_changes_nothing(keys, cut):
    cut = min(cut, len(keys) - 1)
    whole, parts = SOURCE.normal(keys, (3, 2)), [SOURCE.normal(k, (3, 2)) for k in (keys[:cut], keys[cut:])]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(SOURCE.normal(keys[::-1], (3, 2)), whole.flip(0))
    assert torch.equal(SOURCE.uniform(keys), torch.cat([SOURCE.uniform([k]) for k in keys]))


def test_moments():
    normal = SOURCE.normal(range(2000), (8,))
    assert normal.dtype == torch.float32
    assert float(normal.mean()) == pytest.approx(0, abs=0.03)
    assert float(normal.std()) == pytest.approx(1, abs=0.03)
    assert abs(float((normal[:-1, 0] * normal[1:, 0]).mean())) < 0.08
    uniform = SOURCE.uniform(range(4000))
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(uniform.var()) == pytest.approx(1 / 12, abs=0.005)


def test_every_part_of_the_name_matters():
    sources = [SOURCE, NoiseSource(4, "test", 2), NoiseSource(3, "other", 2), NoiseSource(3, "test", 3)]
    sources += [SOURCE.child("a"), SOURCE.child("b"), SOURCE.child("a").child("b")]
    draws = [tuple(s.normal([key], (4,))[0].tolist()) for s in sources for key in (0, 1)]
    assert len(set(draws)) == len(draws)


def test_repeatable():
    assert torch.equal(SOURCE.normal(["k"], (5,)), NoiseSource(3, "test", 2).normal(["k"], (5,)))
