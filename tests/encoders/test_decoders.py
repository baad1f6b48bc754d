"""Decoders of pretrained parts: the UNet's shape, one affine map for two standardisations, export as settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unimm.components import Decoder, parameter_count
from unimm.encoders.calibrated import Statistics
from unimm.encoders.pixels import Pixels
from unimm.encoders.token_decoder import Aligned, TrainedDecoder, build_network
from unimm.foundation.folder import Foundation
from unimm.heads.linear import LinearHead
from unimm.heads.unet import UNetHead
from unimm.noise import NoiseSource
from unimm.registry import decoders, encoders

Checkpoint = Callable[[str], Path]
SMALL = UNetHead.Config(channels=(16, 32), transformer_layers=(0, 1), head_channels=16, norm_groups=8)
NOISE = NoiseSource(0, "test")


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_unet_is_sdxls() -> None:
    """SDXL's 2.567 B parameters have 2048 text and 1280 pooled channels; here tokens take the place of both."""
    with torch.device("meta"):
        sdxl, unet = (UNetHead(UNetHead.Config(), 4, (128, 128), width) for width in (2048, 1792))
    assert parameter_count(sdxl) - (2048 - 1280) * 1280 == 2_567_463_684
    shape = (1, 128 * 128, 4)
    out = unet(*(torch.empty(size, device="meta") for size in (shape, (1,), (1, 64, 1792))))
    assert out.shape == shape


@torch.no_grad()
def test_the_unet_attends_to_its_conditions_at_a_time() -> None:
    torch.manual_seed(0)
    unet = UNetHead(SMALL, 4, (8, 8), 12).eval()
    noisy, time, conditions = values(2, 64, 4), torch.tensor([0.3, 0.3]), values(2, 5, 12)
    out = unet(noisy, time, conditions)
    assert out.shape == noisy.shape
    assert not torch.allclose(out, unet(noisy, time, conditions.flip(0)))
    assert not torch.allclose(out, unet(noisy, time + 0.5, conditions))
    torch.testing.assert_close(out[1:], unet(noisy[1:], time[1:], conditions[1:]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "grid", "said"),
    [
        ({}, (6, 6), "halves its grid 2 times"),
        ({"transformer_layers": (0, 1)}, (8, 8), "one entry a level each"),
        ({"channels": (20, 40, 80)}, (8, 8), "must be a multiple of norm_groups 32"),
    ],
)
def test_what_a_unet_cannot_be(settings: dict[str, Any], grid: tuple[int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        UNetHead(UNetHead.Config(**settings), 4, grid, 12)


def test_aligned_conditions_lie_over_the_latents() -> None:
    seen: list[Tensor] = []

    class Spy(LinearHead):
        def forward(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
            seen.append(noisy)
            return noisy

    head = Aligned(Spy(LinearHead.Config(), 5, (4, 4), 3), 2, (4, 4), (2, 2))
    noisy, conditions = values(1, 16, 2), torch.arange(4.0).view(1, 4, 1).expand(1, 4, 3)
    assert torch.equal(head(noisy, torch.zeros(1), conditions), noisy)
    assert torch.equal(head.given(conditions)(noisy, torch.zeros(1)), noisy) and torch.equal(*seen)
    laid = seen[0][0, :, 2].view(4, 4)
    assert laid.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def trained(standardise: bool) -> tuple[Pixels, TrainedDecoder]:
    """A decoder with random weights for an encoder's tokens, which the arm standardises or leaves raw."""
    encoder = Pixels(Pixels.Config(patch=8, standardise=standardise), 16)
    encoder.statistics = Statistics(values(192, seed=1), 0.5 + values(192, seed=2).abs())
    own = Statistics(values(192, seed=3), 0.5 + values(192, seed=4).abs())
    network = {"head": {"name": "dit", "width": 16, "layers": 1, "heads": 2}, "channels": 48, "grid": [4, 4]}
    network |= {"condition_channels": 192, "condition_grid": [2, 2], "aligned": True}
    flow = {"time_sampling": "uniform", "shift": 1.0, "guidance": 1.0, "condition_dropout": 0.0, "steps": 2}
    from unimm.encoders.token_decoder import _from_arm

    torch.manual_seed(0)
    inner = Pixels(Pixels.Config(patch=4, standardise=False), 16).decoder(Foundation("scenes-nano", 16), 1)
    settings = {"network": network, "flow": flow}
    return encoder, TrainedDecoder(settings, build_network(network), _from_arm(own, encoder), inner, "pixels")


@torch.no_grad()
def test_raw_and_standardised_arms_decode_alike() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    decoded = []
    for standardise in (False, True):
        encoder, decoder = trained(standardise)
        decoded.append(decoder.decode(encoder.encode(images), NOISE, ["0", "1"]))
    assert decoded[0].shape == (2, 3, 16, 16)
    torch.testing.assert_close(*decoded, atol=1e-4, rtol=1e-4)
    again = decoder.decode(encoder.encode(images[1:]), NOISE, ["1"])
    torch.testing.assert_close(decoded[1][1:], again, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(again, decoder.decode(encoder.encode(images[1:]), NOISE, ["2"]), atol=1e-3)


def pretrained(checkpoint: Checkpoint, name: str) -> tuple[Tensor, Decoder]:
    cls: Any = encoders.get(name)
    encoder = cls.build(cls.Config(pretrained=str(checkpoint(name))), Foundation("scenes-nano", 32))
    encoder.statistics = Statistics(values(encoder.channels, seed=1), 0.5 + values(encoder.channels, seed=2).abs())
    latents = values(2, encoder.latent_spec().tokens, encoder.channels)
    return latents, encoder.decoder(Foundation("scenes-nano", 32), 1)


@pytest.mark.parametrize(
    "name", ["autoencoder_kl", "autoencoder_dc", "autoencoder_tiny", "autoencoder_rae", "pixels", "trained"]
)
@torch.no_grad()
def test_a_decoder_leaves_as_settings_and_weights(checkpoint: Checkpoint, name: str) -> None:
    if name == "trained":
        decoder: Decoder = trained(True)[1]
        latents = values(2, 4, 192)
    elif name == "pixels":
        encoder = Pixels(Pixels.Config(patch=8), 16)
        encoder.statistics = Statistics(values(192, seed=1), 0.5 + values(192, seed=2).abs())
        latents, decoder = values(2, 4, 192), encoder.decoder(Foundation("scenes-nano", 16), 1)
    else:
        latents, decoder = pretrained(checkpoint, name)
    settings = json.loads(json.dumps(decoder.settings()))
    copy = decoders.get(decoders.name_of(type(decoder))).from_settings(settings)
    copy.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(
        copy.eval().decode(latents, NOISE, ["0", "1"]), decoder.decode(latents, NOISE, ["0", "1"])
    )
