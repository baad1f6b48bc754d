"""Tiny random checkpoints of the targets that came after CLIP, DINOv2 and the first autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_checkpoints import IMAGENET, OPENAI, PATCH, SIDE, TEXT, TOWER, stirred

SQUARE = {"image_size": SIDE, "patch_size": PATCH}
EXACT = {"size": {"height": SIDE, "width": SIDE}}


def dinov3(folder: Path) -> None:
    from transformers import BitImageProcessor, DINOv3ViTConfig, DINOv3ViTModel

    stirred(DINOv3ViTModel(DINOv3ViTConfig(**TOWER, **SQUARE, num_register_tokens=2))).save_pretrained(folder)
    BitImageProcessor(**EXACT, do_center_crop=False, **IMAGENET).save_pretrained(folder)


def aimv2(folder: Path) -> None:
    """With its text tower, as the checkpoints for zero-shot use come."""
    from transformers import Aimv2Config, Aimv2Model, CLIPImageProcessor

    text = {**TEXT, "eos_token_id": 2}
    config = Aimv2Config(text_config=text, vision_config={**TOWER, **SQUARE}, projection_dim=16)
    stirred(Aimv2Model(config)).save_pretrained(folder)
    mean, std = OPENAI
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE, image_mean=mean, image_std=std).save_pretrained(
        folder
    )


def ijepa(folder: Path) -> None:
    from transformers import IJepaConfig, IJepaModel, ViTImageProcessor

    stirred(IJepaModel(IJepaConfig(**TOWER, **SQUARE))).save_pretrained(folder)
    ViTImageProcessor(**EXACT, **IMAGENET).save_pretrained(folder)


def mae(folder: Path) -> None:
    """With its decoder, as checkpoints come."""
    from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEForPreTraining

    decoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes = {f"decoder_{name}": value for name, value in decoder.items()}
    stirred(ViTMAEForPreTraining(ViTMAEConfig(**TOWER, **SQUARE, **sizes))).save_pretrained(folder)
    ViTImageProcessor(**EXACT, **IMAGENET).save_pretrained(folder)


def perception_encoder(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_pe_core_tiny_patch16_384", pretrained=False, num_classes=8, **sizes)
    save_for_hf(stirred(model), str(folder), model_args=sizes, safe_serialization=True)


def autoencoder_flux2(folder: Path) -> None:
    from diffusers import AutoencoderKLFlux2

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes: dict[str, Any] = {"block_out_channels": (8, 8), "latent_channels": 4, "norm_num_groups": 4}
    model = AutoencoderKLFlux2(**sizes, **blocks, layers_per_block=1)
    generator = torch.Generator().manual_seed(2)
    model.bn.running_mean.copy_(torch.randn(16, generator=generator))
    model.bn.running_var.copy_(0.5 + torch.rand(16, generator=generator))
    stirred(model).save_pretrained(folder)


VIDEO: dict[str, Any] = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1], "num_res_blocks": 1}
CHANNELS = {"latents_mean": [0.5, -0.25, 0.0, 1.0], "latents_std": [2.0, 0.5, 1.0, 1.5]}


def autoencoder_qwen_image(folder: Path) -> None:
    from diffusers import AutoencoderKLQwenImage

    stirred(AutoencoderKLQwenImage(**VIDEO, **CHANNELS, temperal_downsample=[False, True])).save_pretrained(folder)


def autoencoder_wan(folder: Path) -> None:
    from diffusers import AutoencoderKLWan

    model = AutoencoderKLWan(**VIDEO, **CHANNELS, temperal_downsample=[False, True], scale_factor_spatial=4)
    stirred(model).save_pretrained(folder)


TARGETS: dict[str, Callable[[Path], None]] = {
    "dinov3": dinov3,
    "aimv2": aimv2,
    "ijepa": ijepa,
    "mae": mae,
    "perception_encoder": perception_encoder,
    "autoencoder_flux2": autoencoder_flux2,
    "autoencoder_qwen_image": autoencoder_qwen_image,
    "autoencoder_wan": autoencoder_wan,
}
