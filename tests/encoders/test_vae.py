"""Folding latent grids to tokens and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.encoders.vae import patchify, unpatchify


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 3), channels=st.integers(1, 5), side=st.integers(1, 7), patch=st.integers(1, 4))
def test_unpatchify_inverts_patchify(batch, channels, side, patch):
    latents = torch.randn(batch, channels, side * patch, side * patch)
    tokens = patchify(latents, patch)
    assert tokens.shape == (batch, side * side, channels * patch * patch)
    assert torch.equal(unpatchify(tokens, patch), latents)
    assert torch.equal(patchify(unpatchify(tokens, patch), patch), tokens)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_token_holds_its_own_patch_in_row_order(patch):
    side = 3
    latents = torch.zeros(1, 2, side * patch, side * patch)
    latents[:, :, patch : 2 * patch, 2 * patch :] = 1
    filled = patchify(latents, patch)[0].all(-1)
    assert filled.nonzero().flatten().tolist() == [1 * side + 2]
