"""Latent statistics: exact, and undone by their inverse."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.encoders.calibrated import Statistics, measure


def latents(offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(11, 4, 3, generator=generator) * torch.tensor([0.1, 1.0, 30.0]) + offset


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 12), offset=st.sampled_from([0.0, -5.0, 1000.0]))
def test_measure_is_exact(size, offset):
    values = latents(offset)
    statistics = measure(lambda: iter(values.split(size)))
    flat = values.reshape(-1, 3).double().numpy()
    np.testing.assert_allclose(statistics.mean.numpy(), flat.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(statistics.std.numpy(), flat.std(0), rtol=1e-6)


def test_restore_inverts_standardise():
    values = latents(3.0)
    statistics = measure(lambda: [values])
    scaled = statistics.standardise(values)
    torch.testing.assert_close(scaled.reshape(-1, 3).mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.reshape(-1, 3).std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(statistics.restore(scaled), values, atol=1e-5, rtol=1e-5)


def test_buffers_travel_with_the_state():
    statistics = Statistics(torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([3.0, 4.0]))
    assert set(statistics.state_dict()) == {"mean", "std"}
    assert statistics.mean.dtype == torch.float32
    assert not list(statistics.parameters())
