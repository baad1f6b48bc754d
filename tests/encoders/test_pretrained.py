"""Pretrained encoders: our loading against the library called directly, stated shapes, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.components import parameter_count
from unimm.data.cache import cached_latents
from unimm.data.latents import Encoded
from unimm.data.scenes import Scenes
from unimm.data.source import Context
from unimm.encoders.calibrated import CalibratedEncoder, CalibrationImages, Statistics, calibrate, measure
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import encoders
from unimm.scenes.world import world

Checkpoint = Callable[[str], Path]
RESOLUTION = 32
# checkpoint, encoder, settings, tokens, channels
CASES = [
    ("open_clip", "open_clip", {}, 64, 32),
    ("open_clip", "open_clip", {"grid": 2, "layer": -2}, 4, 32),
    ("open_clip_timm", "open_clip", {"grid": 7}, 49, 192),
    ("clip_vision", "transformers_vision", {}, 64, 32),
    ("clip_whole", "transformers_vision", {"grid": 4}, 16, 32),
    ("siglip", "transformers_vision", {"grid": None}, 64, 32),
    ("siglip2_naflex", "transformers_vision", {"grid": 4}, 16, 32),
    ("dinov2", "transformers_vision", {"grid": 1}, 1, 32),
    ("dinov2_registers", "transformers_vision", {"grid": 4, "layer": -2}, 16, 32),
    ("autoencoder_kl", "autoencoder_kl", {}, 16, 4),
    ("autoencoder_flux", "autoencoder_kl", {"patch": 2}, 4, 16),
    ("autoencoder_dc", "autoencoder_dc", {"patch": 4}, 4, 64),
    ("autoencoder_tiny", "autoencoder_tiny", {}, 16, 4),
    ("autoencoder_rae", "autoencoder_rae", {}, 16, 64),
]
IDS = ["-".join([case[0], *map(str, case[2].values())]) for case in CASES]


def images(count: int = 3, side: int = RESOLUTION) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def build(folder: Path, name: str, **settings: Any) -> CalibratedEncoder:
    cls: Any = encoders.get(name)
    config = cls.Config(pretrained=str(folder), **({"standardise": False} | settings))
    built: CalibratedEncoder = cls.build(config, Foundation("scenes-nano", RESOLUTION))
    return built


@pytest.mark.parametrize(("source", "name", "settings", "tokens", "channels"), CASES, ids=IDS)
@torch.no_grad()
def test_shapes_are_as_stated_with_and_without_weights(
    checkpoint: Checkpoint, source: str, name: str, settings: dict[str, Any], tokens: int, channels: int
) -> None:
    encoder = build(checkpoint(source), name, **settings)
    latents = encoder.encode(images())
    assert latents.shape == (3, tokens, channels)
    assert latents.dtype == torch.float32
    assert torch.equal(latents, encoder.encode(images()))
    assert float(latents.std()) > 0
    spec = encoder.latent_spec()
    assert (spec.tokens, spec.channels, spec.grid[0] * spec.grid[1]) == (tokens, channels, tokens)
    outline = type(encoder).on_meta(encoder.config, RESOLUTION)
    assert (outline.latent_spec().tokens, outline.latent_spec().channels) == (tokens, channels)
    assert parameter_count(outline) == parameter_count(encoder)
    assert outline.encode(torch.empty(3, 3, RESOLUTION, RESOLUTION, device="meta")).shape == latents.shape
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def pooled(tokens: Tensor, grid: int) -> Tensor:
    side = int(tokens.shape[1] ** 0.5)
    return F.adaptive_avg_pool2d(tokens.transpose(1, 2).unflatten(2, (side, side)), grid).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("side", "tolerance"), [(RESOLUTION, 1e-5), (48, 0.1)])
@pytest.mark.parametrize(
    ("source", "grid", "layer", "prefix"),
    [
        ("clip_vision", 8, -1, 1),
        ("clip_whole", 4, -2, 1),
        ("siglip", 8, -1, 0),
        ("dinov2", 2, -1, 1),
        ("dinov2_registers", 4, -1, 4),
    ],
)
@torch.no_grad()
def test_towers_agree_with_transformers(
    checkpoint: Checkpoint, source: str, grid: int, layer: int, prefix: int, side: int, tolerance: float
) -> None:
    """The library's processor rounds a resized image to bytes, so other sizes agree less closely than the tower's own.

    Crops are left out on both sides: a target needs the whole image.
    """
    from transformers import AutoImageProcessor, AutoModel

    folder = checkpoint(source)
    bytes_ = (images(side=side) * 255).round().to(torch.uint8)
    size = {"height": RESOLUTION, "width": RESOLUTION}
    pixels = AutoImageProcessor.from_pretrained(folder)(
        list(bytes_), size=size, do_center_crop=False, return_tensors="pt"
    )["pixel_values"]
    whole = AutoModel.from_pretrained(folder).eval()
    states = getattr(whole, "vision_model", whole)(pixels, output_hidden_states=True).hidden_states[layer]
    encoder = build(folder, "transformers_vision", grid=grid, layer=layer)
    found = encoder.encode(bytes_.float() / 255)
    torch.testing.assert_close(found, pooled(states[:, prefix:], grid), atol=tolerance, rtol=tolerance)


@torch.no_grad()
def test_naflex_agrees_with_transformers(checkpoint: Checkpoint) -> None:
    from transformers import AutoImageProcessor, Siglip2VisionModel

    folder = checkpoint("siglip2_naflex")
    bytes_ = (images() * 255).round().to(torch.uint8)
    inputs = AutoImageProcessor.from_pretrained(folder)(list(bytes_), return_tensors="pt")
    model = Siglip2VisionModel.from_pretrained(folder).eval()
    states = model(**inputs, output_hidden_states=True).hidden_states[-1]
    found = build(folder, "transformers_vision", grid=8).encode(bytes_.float() / 255)
    torch.testing.assert_close(found, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["open_clip", "open_clip_timm"])
@torch.no_grad()
def test_open_clip_agrees_with_open_clip(checkpoint: Checkpoint, source: str) -> None:
    import open_clip

    folder = checkpoint(source)
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    side = preprocess.transforms[0].size
    side = side if isinstance(side, int) else side[0]
    from PIL import Image

    bytes_ = (images(2, side) * 255).round().to(torch.uint8)
    pixels = torch.stack([preprocess(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in bytes_])
    expected = model.eval().visual.forward_intermediates(pixels, indices=1, intermediates_only=True)
    encoder = build(folder, "open_clip", grid=None)
    found = encoder.encode(bytes_.float() / 255)
    torch.testing.assert_close(
        found, expected["image_intermediates"][0].flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("source", ["open_clip", "open_clip_timm", "clip_vision", "siglip", "siglip2_naflex", "dinov2"])
@torch.no_grad()
def test_another_resolution_gives_another_grid(checkpoint: Checkpoint, source: str) -> None:
    name = source if source == "open_clip" else ("open_clip" if "timm" in source else "transformers_vision")
    side = 448 if "timm" in source else 2 * RESOLUTION
    encoder = build(checkpoint(source), name, grid=None, resolution=side)
    own = build(checkpoint(source), name, grid=None)
    assert encoder.latent_spec().tokens == 4 * own.latent_spec().tokens
    assert encoder.encode(images(1)).shape[1] == encoder.latent_spec().tokens
    assert encoder.fingerprint != own.fingerprint


@pytest.mark.parametrize(
    ("source", "name", "patch", "field"),
    [
        ("autoencoder_kl", "autoencoder_kl", 2, "latent_dist"),
        ("autoencoder_flux", "autoencoder_kl", 1, "latent_dist"),
        ("autoencoder_dc", "autoencoder_dc", 2, "latent"),
        ("autoencoder_tiny", "autoencoder_tiny", 1, "latents"),
    ],
)
@torch.no_grad()
def test_autoencoders_agree_with_diffusers(
    checkpoint: Checkpoint, source: str, name: str, patch: int, field: str
) -> None:
    import diffusers

    folder = checkpoint(source)
    model: Any = getattr(diffusers, json.loads((folder / "config.json").read_text())["_class_name"])
    model = model.from_pretrained(folder).eval()
    raw = getattr(model.encode(images() * 2 - 1), field)
    raw = raw.mean if field == "latent_dist" else raw
    scaled = (raw - (model.config.get("shift_factor") or 0)) * model.config.scaling_factor
    encoder = build(folder, name, patch=patch)
    found = encoder.encode(images())
    torch.testing.assert_close(found, F.pixel_unshuffle(scaled, patch).flatten(2).transpose(1, 2))
    decoded = encoder.decoder(Foundation("scenes-nano", RESOLUTION), 1).decode(found, NoiseSource(0, "test"), ["0"])
    torch.testing.assert_close(decoded, ((model.decode(raw).sample + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rae_agrees_with_diffusers(checkpoint: Checkpoint) -> None:
    from diffusers import AutoencoderRAE

    model = AutoencoderRAE.from_pretrained(checkpoint("autoencoder_rae")).eval()
    latents = model.encode(images(side=56)).latent
    encoder = build(checkpoint("autoencoder_rae"), "autoencoder_rae")
    found = encoder.encode(images(side=56))
    torch.testing.assert_close(found, latents.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    decoded = encoder.decoder(Foundation("scenes-nano", 64), 1).decode(found, NoiseSource(0, "test"), ["0"])
    torch.testing.assert_close(decoded, model.decode(latents).sample.clamp(0, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [256, 512])
@torch.no_grad()
def test_images_come_to_an_rae_antialiased(checkpoint: Checkpoint, side: int) -> None:
    """Stripes of one pixel are grey at a fraction of their side; sampled without a filter they stay stripes."""
    from diffusers import AutoencoderRAE

    stripes = torch.zeros(1, 3, side, side)
    stripes[..., ::2] = 1
    encoder = build(checkpoint("autoencoder_rae"), "autoencoder_rae")
    grey = encoder.encode(torch.full((1, 3, 56, 56), 0.5))
    far = float((encoder.encode(stripes) - grey).norm())
    model = AutoencoderRAE.from_pretrained(checkpoint("autoencoder_rae")).eval()
    shrunk = F.interpolate(stripes, size=(56, 56), mode="bicubic", antialias=True).clamp(0, 1)
    expected = model.encode(shrunk).latent.flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.encode(stripes), expected, atol=1e-5, rtol=1e-5)
    by_itself = float((model.encode(stripes).latent.flatten(2).transpose(1, 2) - grey).norm())
    assert far < 0.1 * by_itself


def test_rae_of_an_old_diffusers_is_a_clear_error(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    from unimm.encoders.autoencoder import RAECore

    monkeypatch.setattr(RAECore, "library_class", "AutoencoderOfTomorrow")
    with pytest.raises(ValueError, match=r"the installed diffusers \S+ has no AutoencoderOfTomorrow; install a newer"):
        build(checkpoint("autoencoder_rae"), "autoencoder_rae")


def test_latents_mean_and_std_of_a_configuration_are_used(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    shutil.copytree(checkpoint("autoencoder_kl"), folder)
    config = json.loads((folder / "config.json").read_text())
    mean, std = [1.0, -2.0, 0.5, 0.0], [2.0, 0.5, 1.0, 4.0]
    (folder / "config.json").write_text(json.dumps(config | {"latents_mean": mean, "latents_std": std}))
    plain, scaled = build(checkpoint("autoencoder_kl"), "autoencoder_kl"), build(folder, "autoencoder_kl")
    raw = plain.encode(images()) / config["scaling_factor"]
    expected = (raw - torch.tensor(mean)) / torch.tensor(std) * config["scaling_factor"]
    torch.testing.assert_close(scaled.encode(images()), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pixels_come_back(tmp_path: Path) -> None:
    cls: Any = encoders.get("pixels")
    encoder = cls.build(cls.Config(patch=8, standardise=False), Foundation("scenes-nano", RESOLUTION))
    latents = encoder.encode(images())
    assert latents.shape == (3, 16, 192) == (3, encoder.latent_spec().tokens, encoder.latent_spec().channels)
    back = encoder.decoder(Foundation("scenes-nano", RESOLUTION), 1).decode(latents, NoiseSource(0, "test"), ["0"])
    torch.testing.assert_close(back, images())


class Data:
    """Five batches of images, one of which is missing."""

    name, resolution = "test images", RESOLUTION

    def __len__(self) -> int:
        return 20

    def key(self, number: int) -> str:
        return f"image {number}"

    def batches(self, size: int) -> Any:
        for number in range(5):
            batch = torch.rand(4, 3, RESOLUTION, RESOLUTION, generator=torch.Generator().manual_seed(number))
            if number == 2:
                batch[1] = torch.nan
            yield batch


@pytest.mark.parametrize(
    ("source", "name"), [("clip_vision", "transformers_vision"), ("autoencoder_kl", "autoencoder_kl")]
)
@torch.no_grad()
def test_calibration_is_exact_and_cached_under_the_fingerprint(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    encoder = build(checkpoint(source), name, standardise=True)
    with pytest.raises(AssertionError, match="calibrate"):
        encoder.encode(images())
    before = encoder.latent_spec().fingerprint
    calibrate(encoder, Data(), torch.device("cpu"))
    kept = [batch[~batch.isnan().flatten(1).any(1)] for batch in Data().batches(4)]
    assert sum(map(len, kept)) == 19
    latents = torch.cat([encoder.encode(batch) for batch in kept]).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(latents.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(0, correction=0), torch.ones(latents.shape[1]), atol=1e-4, rtol=0)
    assert encoder.latent_spec().fingerprint != before
    expected = measure(lambda: (encoder.features(batch) for batch in kept))
    assert isinstance(encoder.statistics, Statistics)
    torch.testing.assert_close(encoder.statistics.std, expected.std)
    again = build(checkpoint(source), name, standardise=True)
    monkeypatch.setattr(type(again), "features", lambda *_: pytest.fail("statistics were not cached"))
    calibrate(again, Data(), torch.device("cpu"))
    assert again.latent_spec() == encoder.latent_spec()


@torch.no_grad()
def test_standardised_latents_decode_as_raw_ones_do(checkpoint: Checkpoint) -> None:
    raw, standard = (build(checkpoint("autoencoder_kl"), "autoencoder_kl", standardise=on) for on in (False, True))
    standard.statistics = Statistics(torch.full((4,), 0.3), torch.full((4,), 2.0))
    decoded = [
        encoder.decoder(Foundation("scenes-nano", 24), 1).decode(encoder.encode(images()), NoiseSource(0, "t"), ["0"])
        for encoder in (raw, standard)
    ]
    assert decoded[0].shape == (3, 3, 24, 24)  # at the side of the data, not of the latents
    torch.testing.assert_close(*decoded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "name"), [(case[0], case[1]) for case in CASES if not case[2] or case[0] == "siglip"]
)
@pytest.mark.parametrize("damage", ["missing", "leftover", "shape", "truncated", "none"])
def test_anything_but_whole_weights_is_refused_by_name(
    checkpoint: Checkpoint, tmp_path: Path, source: str, name: str, damage: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint(source), folder)
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    own = [key for key in weights if "text" not in key and "transformer.resblocks.1" not in key.removeprefix("visual.")]
    victim = sorted(key for key in own if key.endswith("weight") and weights[key].ndim >= 2)[0]
    if damage == "missing":
        del weights[victim]
    elif damage == "leftover":
        victim = "surplus.weight"
        weights[victim] = torch.zeros(2, 2)
    elif damage == "shape":
        weights[victim] = weights[victim][:1].clone()
    save_file(weights, file, metadata={"format": "pt"})
    if damage == "truncated":
        victim = file.name
        file.write_bytes(file.read_bytes()[:-10])
    if damage == "none":
        victim = file.name
        file.unlink()
    with pytest.raises(ValueError, match=re.escape(victim.removeprefix("vision_model."))) as refusal:
        build(folder, name)
    assert str(folder) in str(refusal.value)


def test_the_text_tower_of_a_whole_clip_is_no_leftover(checkpoint: Checkpoint) -> None:
    vision, whole = (build(checkpoint(name), "transformers_vision") for name in ("clip_vision", "clip_whole"))
    assert parameter_count(vision) == parameter_count(whole)


@pytest.mark.parametrize(
    ("source", "name", "settings", "said"),
    [
        ("autoencoder_kl", "autoencoder_dc", {}, r"config.json describes AutoencoderKL, not AutoencoderDC"),
        ("clip_vision", "autoencoder_kl", {}, r"config.json describes clip_vision_model, not AutoencoderKL"),
        (
            "autoencoder_kl",
            "transformers_vision",
            {},
            r"config.json: model_type None is no vision tower .* autoencoder",
        ),
        ("clip_vision", "open_clip", {}, r"open_clip_config.json is missing .* give the folder of an open_clip model"),
        ("open_clip", "transformers_vision", {}, r"config.json is missing .* save_pretrained"),
        ("clip_vision", "transformers_vision", {"grid": 5}, r"grid=5 does not divide the 8 x 8 patches .* 1, 2, 4, 8"),
        ("clip_vision", "transformers_vision", {"layer": -3}, r"layer=-3, but .* has 2 blocks: choose -1 .* to -2"),
        ("open_clip", "open_clip", {"layer": -3}, r"layer=-3, but .* has 2 blocks"),
        ("clip_vision", "transformers_vision", {"resolution": 33}, r"multiple of 4 .*encoder.resolution=32 or 36"),
        ("open_clip", "open_clip", {"resolution": 30}, r"a multiple of 4 pixels, not 30: encoder.resolution=28 or 32"),
        ("open_clip_timm", "open_clip", {"resolution": 8}, r"a multiple of 16 pixels, not 8: encoder.resolution=16$"),
        ("autoencoder_dc", "autoencoder_dc", {"resolution": 33}, r"multiple of 4 .*encoder.resolution=32 or 36"),
        ("autoencoder_tiny", "autoencoder_tiny", {"resolution": 60}, r"multiple of 8 .*encoder.resolution=56 or 64"),
        ("autoencoder_kl", "autoencoder_kl", {"patch": 3}, r"patch=3 takes .* not 32: source.resolution=24 or 48"),
        ("autoencoder_kl", "autoencoder_kl", {"subfolder": "vae"}, r"has no subfolder 'vae' \(subfolders: none\)"),
    ],
)
def test_the_wrong_checkpoint_is_one_clear_message(
    checkpoint: Checkpoint, source: str, name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        build(checkpoint(source), name, **settings)


def test_a_tower_without_its_processor_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    shutil.copytree(checkpoint("siglip"), tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"preprocessor_config.json is missing .*mean and deviation would be guesses"):
        build(tmp_path / "bare", "transformers_vision")


def test_what_is_neither_folder_nor_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder, and not a hub id"):
        build(tmp_path / "nothing here", "open_clip")


def test_a_tower_without_decoder_says_how_to_get_one(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match="unimm decoder train"):
        build(checkpoint("siglip"), "transformers_vision").decoder(Foundation("scenes-nano", 64), 1)


@pytest.mark.parametrize("damage", ["nan", "inf", "one channel"])
@pytest.mark.parametrize("standardise", [True, False])
def test_latents_that_are_no_numbers_are_named_with_their_image(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, standardise: bool
) -> None:
    """When statistics are measured, latents cached, and a step encodes."""
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "vae"
    shutil.copytree(checkpoint("autoencoder_kl"), folder)
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    if damage == "nan":
        weights["encoder.conv_out.bias"][0] = torch.nan
    elif damage == "inf":
        weights["encoder.conv_in.weight"].mul_(3e38)
    else:
        weights["quant_conv.bias"][0] = torch.inf
    save_file(weights, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    encoder = build(folder, "autoencoder_kl", standardise=standardise)
    said = r"AutoencoderKL\.encode gives (NaN|infinite values) for sample {}: its weights are damaged"
    source = Scenes.build(Scenes.Config(resolution=RESOLUTION), Context(world("scenes-nano"), RESOLUTION, 4))
    cpu = torch.device("cpu")
    if standardise:
        images = CalibrationImages(source)
        with pytest.raises(ValueError, match=said.format(images.key(0))):
            calibrate(encoder, images, cpu)
        return
    with pytest.raises(ValueError, match=said.format(source.key(0))):
        cached_latents(encoder, source, cpu)
    with pytest.raises(ValueError, match=said.format("it")):
        Encoded(encoder, source, cpu).finish([source.image(0)], ["it"])


def test_the_fingerprint_follows_weights_and_preprocessing_not_the_place(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for part in ("same", "other weights", "other mean"):
        shutil.copytree(checkpoint("siglip"), tmp_path / part)
    file = tmp_path / "other weights" / "model.safetensors"
    weights = load_file(file)
    weights["vision_model.post_layernorm.bias"] += 1e-3
    save_file(weights, file, metadata={"format": "pt"})
    processor = tmp_path / "other mean" / "preprocessor_config.json"
    processor.write_text(json.dumps(json.loads(processor.read_text()) | {"image_mean": [0.4, 0.5, 0.5]}))
    prints = [
        build(folder, "transformers_vision").fingerprint
        for folder in (checkpoint("siglip"), *(tmp_path / part for part in ("same", "other weights", "other mean")))
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
