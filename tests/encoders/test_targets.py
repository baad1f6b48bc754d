"""Newer targets: our loading against the library called directly, sums of blocks, pairs of encoders, their decoders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.components import parameter_count
from unimm.encoders.calibrated import Statistics, calibrate, uncalibrated
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching
from unimm.registry import decoders, encoders, heads

Checkpoint = Callable[[str], Path]
SIDE = 32
NOISE = NoiseSource(0, "test")
# checkpoint, encoder, settings, tokens, channels
TOWERS = [
    ("dinov3", "transformers_vision", {"grid": None}, 64, 32),
    ("aimv2", "transformers_vision", {"grid": None}, 64, 32),
    ("ijepa", "transformers_vision", {"grid": 4}, 16, 32),
    ("mae", "transformers_vision", {"grid": None}, 64, 32),
    ("perception_encoder", "timm_vision", {"grid": None}, 64, 32),
]
AUTOENCODERS = [
    ("autoencoder_flux2", "autoencoder_flux2", {}, 64, 16),
    ("autoencoder_qwen_image", "autoencoder_qwen_image", {"patch": 2}, 16, 16),
    ("autoencoder_wan", "autoencoder_wan", {"patch": 4}, 4, 64),
]
CASES = TOWERS + AUTOENCODERS
IDS = [case[0] for case in CASES]


def images(count: int = 2, side: int = SIDE) -> Tensor:
    """Of whole bytes, so that a library's processor sees the same."""
    random = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return (random * 255).round() / 255


def build(name: str, folder: Path | None = None, side: int = SIDE, **settings: Any) -> Any:
    cls: Any = encoders.get(name)
    own = {} if folder is None else {"pretrained": str(folder)}
    config = cls.Config(**({"standardise": False} | own | settings))
    return cls.build(config, Foundation("scenes-nano", side))


def pixels(folder: Path) -> Tensor:
    from transformers import AutoImageProcessor

    bytes_ = list((images() * 255).round().to(torch.uint8))
    return AutoImageProcessor.from_pretrained(folder)(bytes_, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize(("source", "name", "settings", "tokens", "channels"), CASES, ids=IDS)
@torch.no_grad()
def test_shapes_are_as_stated_with_and_without_weights(
    checkpoint: Checkpoint, source: str, name: str, settings: dict[str, Any], tokens: int, channels: int
) -> None:
    encoder = build(name, checkpoint(source), **settings)
    latents = encoder.encode(images())
    assert latents.shape == (2, tokens, channels)
    assert latents.dtype == torch.float32
    assert torch.equal(latents, encoder.encode(images()))
    outline = type(encoder).on_meta(encoder.config, SIDE)
    assert (outline.latent_spec().tokens, outline.latent_spec().channels) == (tokens, channels)
    assert parameter_count(outline) == parameter_count(encoder)
    assert outline.encode(torch.empty(2, 3, SIDE, SIDE, device="meta")).shape == latents.shape
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize(("source", "name", "settings", "tokens", "channels"), CASES, ids=IDS)
def test_it_takes_part_in_two_steps_and_a_sampling_pass(
    checkpoint: Checkpoint, source: str, name: str, settings: dict[str, Any], tokens: int, channels: int
) -> None:
    """With a head of its own size: the loss of the same draw falls, and samples have the latents' shape."""
    encoder = build(name, checkpoint(source), **settings)
    with torch.no_grad():
        latents = encoder.encode(images())
    head_class: Any = heads.get("dit")
    head = head_class(head_class.Config(width=32, layers=1, heads=2), channels, encoder.grid, 8)
    flow, conditions = FlowMatching(FlowMatching.Config(steps=2)), torch.ones(2, 4, 8)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = flow.loss(head, latents / latents.std(), conditions, NOISE, ["a", "b"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    with torch.no_grad():
        sampled = flow.sample(head, conditions, (tokens, channels), NOISE, ["a", "b"])
    assert sampled.shape == latents.shape and bool(sampled.isfinite().all())
    if source.startswith("autoencoder"):
        drawn = encoder.decoder(Foundation("scenes-nano", SIDE), 1).decode(sampled, NOISE, ["a", "b"])
        assert drawn.shape == (2, 3, SIDE, SIDE) and float(drawn.min()) >= 0 and float(drawn.max()) <= 1


@pytest.mark.parametrize(
    ("source", "prefix", "norm"),
    [("dinov3", 3, "norm"), ("aimv2", 0, "rms_norm"), ("ijepa", 0, "layernorm"), ("mae", 1, "layernorm")],
)
@torch.no_grad()
def test_towers_agree_with_transformers(checkpoint: Checkpoint, source: str, prefix: int, norm: str) -> None:
    """Our tokens come before the final norm: under the library's own they are its last hidden state."""
    import transformers
    from transformers import AutoModel

    folder = checkpoint(source)
    model = AutoModel.from_pretrained(folder).eval()
    model = getattr(model, "vision_model", model)
    output = model(pixels(folder))
    expected = output.last_hidden_state[:, prefix:]
    if source == "mae":  # which hides some patches and shuffles the others, unless it is told not to
        model = transformers.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
        output = model(pixels(folder))
        order = output.ids_restore[..., None].expand(-1, -1, 32)
        expected = output.last_hidden_state[:, 1:].gather(1, order)
    tokens = build("transformers_vision", folder, grid=None).encode(images())
    torch.testing.assert_close(getattr(model, norm)(tokens), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_towers_agree_with_timm(checkpoint: Checkpoint) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config
    from torchvision.transforms.functional import to_pil_image

    folder = checkpoint("perception_encoder")
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(model))
    shown = torch.stack([transform(to_pil_image(image)) for image in images()])
    expected = model.forward_features(shown)[:, model.num_prefix_tokens :]
    tokens = build("timm_vision", folder, grid=None).encode(images())
    torch.testing.assert_close(model.norm(tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["dinov3", "ijepa", "mae", "perception_encoder"])
@torch.no_grad()
def test_another_resolution_gives_another_grid(checkpoint: Checkpoint, source: str) -> None:
    name = "timm_vision" if source == "perception_encoder" else "transformers_vision"
    encoder = build(name, checkpoint(source), grid=None, resolution=2 * SIDE)
    assert encoder.encode(images()).shape[1] == encoder.latent_spec().tokens == 256


def test_positions_that_are_never_interpolated_allow_one_side(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"positions for 32 pixels alone.*set encoder.resolution=null"):
        build("transformers_vision", checkpoint("aimv2"), grid=None, resolution=64)


@torch.no_grad()
def test_flux2_agrees_with_diffusers(checkpoint: Checkpoint) -> None:
    from diffusers import AutoencoderKLFlux2, Flux2Pipeline

    model = AutoencoderKLFlux2.from_pretrained(checkpoint("autoencoder_flux2")).eval()
    raw = model.encode(images() * 2 - 1).latent_dist.mode()
    folded = Flux2Pipeline._patchify_latents(raw)
    mean, deviation = model.bn.running_mean, torch.sqrt(model.bn.running_var + model.config.batch_norm_eps)
    expected = (folded - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
    encoder = build("autoencoder_flux2", checkpoint("autoencoder_flux2"))
    latents = encoder.encode(images())
    torch.testing.assert_close(latents, expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    drawn = encoder.decoder(Foundation("scenes-nano", SIDE), 1).decode(latents, NOISE, ["0"])
    torch.testing.assert_close(drawn, ((model.decode(raw).sample + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["autoencoder_qwen_image", "autoencoder_wan"])
@torch.no_grad()
def test_video_autoencoders_agree_with_diffusers(checkpoint: Checkpoint, source: str) -> None:
    """An image is one frame; means and deviations of the configuration are applied as the pipelines apply them."""
    import diffusers

    folder = checkpoint(source)
    settings = json.loads((folder / "config.json").read_text())
    model = getattr(diffusers, settings["_class_name"]).from_pretrained(folder).eval()
    raw = model.encode((images() * 2 - 1)[:, :, None]).latent_dist.mode()
    mean, std = (torch.tensor(settings[key]).view(1, -1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    expected = ((raw - mean) * (1.0 / std))[:, :, 0]
    encoder = build(source, folder)
    latents = encoder.encode(images())
    torch.testing.assert_close(latents, expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    drawn = encoder.decoder(Foundation("scenes-nano", SIDE), 1).decode(latents, NOISE, ["0"])
    own = ((model.decode(raw).sample[:, :, 0] + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(drawn, own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["autoencoder_flux2", "autoencoder_qwen_image"])
@torch.no_grad()
def test_a_decoder_comes_back_from_its_settings(checkpoint: Checkpoint, source: str) -> None:
    encoder = build(source, checkpoint(source))
    decoder = encoder.decoder(Foundation("scenes-nano", SIDE), 1)
    again = decoders.get("autoencoder").from_settings(json.loads(json.dumps(decoder.settings())))
    again.load_state_dict(decoder.state_dict())
    latents = encoder.encode(images())
    torch.testing.assert_close(again.eval().decode(latents, NOISE, ["0"]), decoder.decode(latents, NOISE, ["0"]))


# Sums of blocks


@torch.no_grad()
def test_one_block_of_clip_is_today_s_latents_to_the_bit() -> None:
    plain, layered = build("clip", side=64, standardise=True), build("clip_layers", side=64, standardise=True)
    assert torch.equal(plain.encode(images(side=64)), layered.encode(images(side=64)))
    assert plain.latent_spec() == layered.latent_spec()
    assert not uncalibrated(layered)
    layered.decoder(Foundation("scenes-nano"), 1)


@pytest.mark.parametrize("normed", [False, True])
@torch.no_grad()
def test_blocks_of_clip_are_summed(normed: bool) -> None:
    encoder = build("clip_layers", side=64, layers=2, every=2, normed=normed)
    shown = images(side=64)
    found: dict[int, Tensor] = {}
    for number, block in enumerate(encoder.visual.transformer.resblocks):
        block.register_forward_hook(lambda *call, number=number: found.update({number: call[2]}))
    encoder.visual(shown * 2 - 1)
    parts = [found[number][:, 1:] for number in (1, 3)]  # without the class token
    parts = [F.layer_norm(part, part.shape[-1:], eps=1e-6) for part in parts] if normed else parts
    side = int(parts[0].shape[1] ** 0.5)
    grid = (parts[0] + parts[1]).transpose(1, 2).unflatten(2, (side, side))
    expected = F.adaptive_avg_pool2d(grid, encoder.grid).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.encode(shown), expected, atol=1e-5, rtol=1e-5)


def test_sums_have_fingerprints_statistics_and_decoders_of_their_own() -> None:
    one, two, spread = (
        build("clip_layers", side=64, standardise=True, layers=layers, every=every)
        for layers, every in ((1, 1), (2, 1), (2, 2))
    )
    assert len({encoder.fingerprint for encoder in (one, two, spread)}) == 3
    assert uncalibrated(two) == [two]
    with pytest.raises(ValueError, match="for the last block of its CLIP alone: train one"):
        two.decoder(Foundation("scenes-nano"), 1)
    with pytest.raises(ValueError, match=r"layers=3 in steps of 2 .* has 4: choose at most layers=2"):
        build("clip_layers", side=64, layers=3, every=2)
    with pytest.raises(ValueError, match="set layers to 2 or more"):
        build("clip_layers", side=64, every=2)


@pytest.mark.parametrize(
    ("source", "name"), [("dinov3", "transformers_vision"), ("perception_encoder", "timm_vision"), ("open_clip",) * 2]
)
@torch.no_grad()
def test_a_tower_s_sum_is_the_sum_of_its_blocks(checkpoint: Checkpoint, source: str, name: str) -> None:
    whole = build(name, checkpoint(source), grid=4, layers=2)
    single = [build(name, checkpoint(source), grid=4, layer=layer) for layer in (-1, -2)]
    parts = [encoder.encode(images()) for encoder in single]
    torch.testing.assert_close(whole.encode(images()), parts[0] + parts[1], atol=1e-5, rtol=1e-5)
    assert len({encoder.fingerprint for encoder in (whole, *single)}) == 3
    with pytest.raises(ValueError, match=r"needs 3 blocks, but .* has 2: choose at most layers=2"):
        build(name, checkpoint(source), grid=4, layers=3)


# Two encoders side by side


class Data:
    name, resolution = "test images", SIDE

    def key(self, number: int) -> str:
        return f"image {number}"

    def batches(self, size: int) -> Any:
        yield torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def pair(checkpoint: Checkpoint, **settings: Any) -> Any:
    first = {"name": "transformers_vision", "pretrained": str(checkpoint("dinov3")), "grid": 4}
    second = {"name": "autoencoder_kl", "pretrained": str(checkpoint("autoencoder_kl"))}
    return encoders.get("side_by_side").Config(first=first, second=second, **settings)


@torch.no_grad()
def test_two_encoders_stand_side_by_side_with_statistics_apart(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    config, foundation = pair(checkpoint, decoded="second"), Foundation("scenes-nano", SIDE)
    both = encoders.get("side_by_side").build(config, foundation)
    calibrate(both, Data(), torch.device("cpu"))
    alone = []
    for choice in config.parts:
        single: Any = encoders.get(choice.name)
        alone.append(single.build(choice.config, foundation))
        monkeypatch.setattr(single, "features", lambda *_: pytest.fail("statistics of the pair were not shared"))
        calibrate(alone[-1], Data(), torch.device("cpu"))
        monkeypatch.undo()
        monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    latents = both.encode(images())
    assert torch.equal(latents, torch.cat([encoder.encode(images()) for encoder in alone], dim=-1))
    assert (both.latent_spec().tokens, both.latent_spec().channels) == (16, 36)
    decoder = both.decoder(foundation, 1)
    expected = alone[1].decoder(foundation, 1).decode(latents[..., 32:], NOISE, ["0"])
    torch.testing.assert_close(decoder.decode(latents, NOISE, ["0"]), expected)
    again = decoders.get("part").from_settings(json.loads(json.dumps(decoder.settings())))
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again.eval().decode(latents, NOISE, ["0"]), expected)


def test_a_pair_says_what_does_not_fit(checkpoint: Checkpoint) -> None:
    cls: Any = encoders.get("side_by_side")
    foundation = Foundation("scenes-nano", SIDE)
    config = pair(checkpoint)
    with pytest.raises(ValueError, match="has no way back to pixels: train a decoder"):
        cls.build(config, foundation).check_decodable()
    other = config.model_copy(update={"first": config.first.model_copy(update={"config": _grid(config.first, 8)})})
    with pytest.raises(ValueError, match="transformers_vision has 8 x 8 tokens, autoencoder_kl 4 x 4"):
        cls.build(other, foundation)


def _grid(choice: Any, side: int) -> Any:
    return choice.config.model_copy(update={"grid": side})


# RAE's own decoder, for the tower inside of it


@pytest.fixture(scope="module")
def rae(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An AutoencoderRAE, and the same tower as `transformers` saves it."""
    from tiny_checkpoints import IMAGENET, autoencoder_rae
    from transformers import BitImageProcessor, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    whole, tower = (tmp_path_factory.mktemp("rae") / part for part in ("whole", "tower"))
    whole.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder_rae(whole)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "patch_size": 14, "image_size": 518}
    model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes))
    weights = load_file(whole / "diffusion_pytorch_model.safetensors")
    own = {key.removeprefix("encoder."): value for key, value in weights.items() if key.startswith("encoder.")}
    missing, unexpected = model.load_state_dict(own, strict=False)
    assert set(missing) == {"layernorm.weight", "layernorm.bias"} and not unexpected  # RAE has neither gain nor bias
    model.save_pretrained(tower)
    BitImageProcessor(size={"height": 56, "width": 56}, do_center_crop=False, **IMAGENET).save_pretrained(tower)
    return whole, tower


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
@torch.no_grad()
def test_an_rae_s_decoder_draws_its_tower_s_tokens_as_diffusers_does(
    rae: tuple[Path, Path], normed: bool, standardise: bool
) -> None:
    from diffusers import AutoencoderRAE

    whole, tower = rae
    encoder = build(
        "transformers_vision", tower, 64, grid=None, normed=normed, standardise=standardise, decoder=str(whole)
    )
    if standardise:
        encoder.statistics = Statistics(torch.full((64,), 0.2), torch.full((64,), 1.5))
    decoder = encoder.decoder(Foundation("scenes-nano", 64), 1)
    shown = images(side=56)
    model = AutoencoderRAE.from_pretrained(whole).eval()
    expected = model.decode(model.encode(shown).latent).sample.clamp(0, 1)
    drawn = decoder.decode(encoder.encode(shown), NOISE, ["0"])
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=1e-4)
    again = decoders.get("rae").from_settings(json.loads(json.dumps(decoder.settings())))
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again.eval().decode(encoder.encode(shown), NOISE, ["0"]), drawn)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"grid": 2}, r"it takes 16 tokens of 64 channels, and the encoder makes \[4, 64\]"),
        ({"other": True}, "of the encoder.s tokens it draws other images than of its own"),
    ],
)
def test_an_rae_s_decoder_is_refused_for_other_tokens(
    rae: tuple[Path, Path], tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    import shutil

    whole, tower = rae
    if settings.pop("other", False):
        shutil.copytree(tower, tmp_path / "tower")
        tower = tmp_path / "tower"
        weights = load_file(tower / "model.safetensors")
        weights["encoder.layer.0.mlp.fc2.weight"] += 0.3 * torch.randn(64, 256)
        save_file(weights, tower / "model.safetensors", metadata={"format": "pt"})
    encoder = build("transformers_vision", tower, 64, decoder=str(whole), **({"grid": None} | settings))
    with pytest.raises(ValueError, match=f"does not fit these tokens: {why}"):
        encoder.decoder(Foundation("scenes-nano", 64), 1)


# A decoder that is trained on noised tokens


def test_tokens_are_noised_by_a_strength_of_each_image() -> None:
    from unimm.encoders.token_decoder import noised

    tokens = torch.zeros(400, 16, 8)
    assert noised(tokens, 0.0, NOISE) is tokens
    found = noised(tokens, 0.8, NOISE).flatten(1)
    strengths = found.std(dim=1)
    assert float(strengths.mean()) == pytest.approx(0.4, abs=0.03)  # uniform in [0, 0.8]
    assert float(strengths.std()) == pytest.approx(0.8 / 12**0.5, abs=0.03)
    assert float(found.mean()) == pytest.approx(0, abs=0.02)
    assert torch.equal(found, noised(tokens, 0.8, NOISE).flatten(1))
