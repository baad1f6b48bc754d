"""Configurations that ship with unimm: shapes and published parameter counts, without weights and without a hub."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unimm.checkpoints import KNOWN, config_folder
from unimm.components import parameter_count
from unimm.registry import backbones, encoders

EVA = "timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"
# encoder, id, settings, (tokens, channels), parameters
ENCODERS: list[tuple[str, str, dict[str, Any], tuple[int, int], int]] = [
    pytest.param("open_clip", EVA, {}, (64, 1792), 4_350_556_928, marks=pytest.mark.slow),  # type: ignore[list-item]
    ("transformers_vision", "openai/clip-vit-large-patch14", {}, (64, 1024), 303_179_776),
    ("transformers_vision", "google/siglip-so400m-patch14-384", {"grid": 9}, (81, 1152), 428_225_600),
    ("transformers_vision", "google/siglip2-so400m-patch16-256", {}, (64, 1152), 427_888_064),
    ("transformers_vision", "google/siglip2-base-patch16-naflex", {}, (64, 768), 92_930_304),
    ("transformers_vision", "facebook/dinov2-with-registers-base", {"grid": None}, (256, 768), 86_583_552),
    ("autoencoder_kl", "stabilityai/sd-vae-ft-ema", {}, (1024, 4), 83_653_863),
    ("autoencoder_kl", "stabilityai/sdxl-vae", {"patch": 2}, (256, 16), 83_653_863),
    (
        "autoencoder_kl",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        {"subfolder": "vae", "patch": 2},
        (256, 64),
        83_819_683,
    ),
    ("autoencoder_kl", "black-forest-labs/FLUX.1-dev", {"subfolder": "vae", "patch": 4}, (64, 256), 83_819_683),
    ("autoencoder_dc", "mit-han-lab/dc-ae-f32c32-sana-1.1-diffusers", {}, (64, 32), 312_250_275),
    ("autoencoder_tiny", "madebyollin/taesd", {}, (1024, 4), 2_445_063),
    ("autoencoder_rae", "nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08", {}, (256, 768), 501_638_656),
]
BACKBONES = [
    ("pretrained_lm", "meta-llama/Llama-3.2-1B-Instruct", 2048, 1_235_814_400),
    ("pretrained_lm", "Qwen/Qwen3-0.6B", 1024, 596_049_920),
    ("pretrained_lm", "Qwen/Qwen3-1.7B", 2048, 1_720_574_976),
    ("pretrained_vlm", "Qwen/Qwen2.5-VL-3B-Instruct", 2048, 3_754_622_976),
    ("pretrained_vlm", "Qwen/Qwen2.5-VL-7B-Instruct", 3584, 8_292_166_656),
]


@pytest.mark.parametrize(("name", "pretrained", "settings", "shape", "parameters"), ENCODERS)
def test_encoders(
    name: str, pretrained: str, settings: dict[str, Any], shape: tuple[int, int], parameters: int
) -> None:
    cls: Any = encoders.get(name)
    encoder = cls.on_meta(cls.Config(pretrained=pretrained, **settings), 256)
    spec = encoder.latent_spec()
    assert (spec.tokens, spec.channels) == shape
    assert parameter_count(encoder) == parameters
    assert encoder.encode(torch.empty(2, 3, 256, 256, device="meta")).shape == (2, *shape)


@pytest.mark.parametrize(("name", "pretrained", "width", "parameters"), BACKBONES)
def test_backbones(name: str, pretrained: str, width: int, parameters: int) -> None:
    cls: Any = backbones.get(name)
    outline = cls.on_meta(cls.Config(pretrained=pretrained))
    assert outline.width == width
    assert parameter_count(outline.model) == parameters


def test_an_example_without_its_subfolder_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    cls: Any = encoders.get("autoencoder_kl")
    with pytest.raises(ValueError, match=r"FLUX.1-dev holds vae\); .*encoder.subfolder=vae"):
        cls.on_meta(cls.Config(pretrained="black-forest-labs/FLUX.1-dev"), 256)


def test_every_known_folder_holds_configuration_only() -> None:
    files = [path for path in KNOWN.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json"}
    assert config_folder("madebyollin/taesd") == KNOWN / "madebyollin--taesd"
