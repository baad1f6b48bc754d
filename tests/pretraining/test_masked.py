"""A tower without text: CLIP's network by timm, trained to draw what it did not see, and a target like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from unimm.cli import app
from unimm.encoders.clip import load_clip, pooled_features
from unimm.foundation.card import find
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.pretraining import masked
from unimm.pretraining.build import scene_set
from unimm.pretraining.masked import HIDDEN, MaskedAutoencoder, fresh_tower, taken
from unimm.pretraining.sizes import SIZES
from unimm.registry import encoders

ARM = str(Path(__file__).parents[2] / "ablations" / "clip_fm.yaml")
TINY = SIZES["tiny"].clip["vision_cfg"]


def pixels(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def model() -> MaskedAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MaskedAutoencoder(fresh_tower(TINY)).eval()


@torch.no_grad()
def test_the_tower_is_the_network_of_the_foundations_clip() -> None:
    """With CLIP's weights, as timm itself reads them from open_clip, it gives CLIP's features."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    clip, tower = load_clip(find("scenes-nano") / "clip"), fresh_tower(SIZES["nano"].clip["vision_cfg"]).eval()
    weights = checkpoint_filter_fn(clip.state_dict(), tower)
    tower.load_state_dict({name: value for name, value in weights.items() if not name.startswith("head.")})
    images = (pixels() + 1) / 2
    grid = tower.forward_intermediates(images * 2 - 1, indices=[-1], intermediates_only=True)[0]
    found = F.adaptive_avg_pool2d(grid, 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, pooled_features(clip.visual, images, 4), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_of_all_patches_the_tower_makes_what_timm_makes(model: MaskedAutoencoder) -> None:
    order = torch.stack([torch.arange(64), torch.arange(64).flip(0)])
    expected = taken(model.tower.forward_features(pixels())[:, 1:], order)
    torch.testing.assert_close(model.tokens(pixels(), order), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_hidden_patches_are_drawn_from_the_others_alone(model: MaskedAutoencoder) -> None:
    left = torch.arange(64).view(8, 8)[:, :4].flatten().expand(2, -1)
    drawn = model(pixels(), left)
    hidden, seen = pixels(), pixels()
    hidden[..., 32:], seen[..., :8] = 0.0, 0.0
    assert torch.equal(model(hidden, left), drawn)
    assert not torch.allclose(model(seen, left), drawn, atol=1e-4)


@torch.no_grad()
def test_the_loss_is_the_mean_square_over_hidden_pixels(model: MaskedAutoencoder) -> None:
    """Of a decoder that draws grey: images that are even, and grey ones with one white patch, hidden in some."""
    for parameter in model.draw.parameters():
        parameter.zero_()
    even = torch.full((4, 3, 64, 64), 0.9)
    assert float(model.loss(even, torch.Generator())) == pytest.approx(0.8**2)
    white = torch.full((64, 3, 64, 64), 0.5)
    white[:, :, 8:16, 24:32] = 1.0
    hidden = round(HIDDEN * 64)
    images = float(model.loss(white, torch.Generator().manual_seed(1))) * hidden * 64
    assert images == pytest.approx(round(images), abs=1e-3)
    assert images == pytest.approx(hidden, abs=12), "3 standard deviations of 64 draws"


def test_training_draws_better_than_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked, "BATCH", 8)
    data = scene_set(SIZES["tiny"], 0)
    # The cost's loss is a moving average that begins with the first step's, which is the same of both.
    losses = [masked.train_masked(TINY, data, steps, torch.device("cpu"))[1].loss for steps in (1, 40)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.slow
def test_a_trained_tower_is_a_target_with_a_decoder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    run, folder, decoder = CliRunner().invoke, tmp_path / "tower", tmp_path / "decoder"
    train = ["tower", "train", "--profile", "tiny", "--out", str(folder)]
    result = run(app, train)
    assert result.exit_code == 0, result.output
    again = run(app, train)
    assert again.exit_code == 2 and "is not empty: choose another --out" in again.stderr

    cls: Any = encoders.get("timm_vision")
    config = cls.Config(pretrained=str(folder), grid=4, standardise=False, decoder=str(decoder))
    encoder = cls.build(config, Foundation("scenes-nano"))
    assert (encoder.latent_spec().tokens, encoder.latent_spec().channels) == (16, TINY["width"])
    with torch.no_grad():
        grid = encoder.model.forward_intermediates(pixels(), indices=[-1], intermediates_only=True)[0]
        expected = F.adaptive_avg_pool2d(grid, 4).flatten(2).transpose(1, 2)
        torch.testing.assert_close(encoder.encode((pixels() + 1) / 2), expected, atol=1e-5, rtol=1e-5)

    settings = ["profile=tiny", "encoder=timm_vision", f"encoder.pretrained={folder}", "encoder.grid=4"]
    recipe = ["decoder.steps=2", "decoder.batch_size=4", "decoder.network.width=32", "decoder.network.layers=1"]
    result = run(app, ["decoder", "train", ARM, "--out", str(decoder), *settings, *recipe])
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        drawn = encoder.decoder(Foundation("scenes-nano"), 1).decode(expected, NoiseSource(0, "test"), ["0", "1"])
    assert drawn.shape == (2, 3, 64, 64)


def test_an_unknown_profile_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tower", "train", "--profile", "huge", "--out", str(tmp_path / "tower")])
    assert result.exit_code == 2 and "known: tiny, nano" in result.stderr
