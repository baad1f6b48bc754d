"""Lifted VAE latents: the VAE's own, in more channels, by a map that keeps lengths and has an exact way back."""

from __future__ import annotations

import pytest
import torch

from unimm.encoders.vae import Vae
from unimm.encoders.vae_lift import LiftedDecoder, VaeLift, lift
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import decoders

FOUNDATION, NOISE = Foundation("scenes-nano"), NoiseSource(0, "test")


def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_tokens_keep_their_products_and_their_variance() -> None:
    plain, lifted = Vae.build(Vae.Config(), FOUNDATION), VaeLift.build(VaeLift.Config(), FOUNDATION)
    small, large = plain.encode(images()).flatten(0, 1), lifted.encode(images()).flatten(0, 1)
    assert large.shape == (len(small), 128) and lifted.latent_spec().channels == 128
    torch.testing.assert_close(large @ large.T, 8 * small @ small.T, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(large.square().mean(), small.square().mean())
    assert torch.linalg.matrix_rank(large) == 16
    assert lifted.latent_spec().fingerprint != plain.latent_spec().fingerprint


@torch.no_grad()
def test_the_decoder_is_the_vae_s_after_the_way_back() -> None:
    plain, lifted = Vae.build(Vae.Config(), FOUNDATION), VaeLift.build(VaeLift.Config(), FOUNDATION)
    own, other = (part.decoder(FOUNDATION, 1) for part in (plain, lifted))
    latents = lifted.encode(images())
    drawn = other.decode(latents, NOISE, ["a", "b", "c"])
    torch.testing.assert_close(drawn, own.decode(plain.encode(images()), NOISE, ["a", "b", "c"]), atol=1e-4, rtol=1e-4)
    assert decoders.name_of(LiftedDecoder) == "vae_lift"
    again = LiftedDecoder.from_settings(other.settings())
    again.load_state_dict(other.state_dict())
    torch.testing.assert_close(again.decode(latents, NOISE, ["a", "b", "c"]), drawn)


def test_the_map_is_orthonormal_and_always_the_same() -> None:
    found = lift(16, 128)
    torch.testing.assert_close(found @ found.T, 8 * torch.eye(16), atol=1e-5, rtol=0)
    assert torch.equal(found, lift(16, 128))
    with pytest.raises(ValueError, match=r"encoder.channels=8 is less than the 16 channels of the VAE's tokens"):
        VaeLift.build(VaeLift.Config(channels=8), FOUNDATION)
