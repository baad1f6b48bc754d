"""Tiny random checkpoints of every family, saved by the family's own library: real file formats in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**TOWER, "num_hidden_layers": 1, "vocab_size": 64, "max_position_embeddings": 16}
SIDE, PATCH = 32, 4
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
OPENAI = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def stirred(model: Any) -> Any:
    """The model in evaluation mode with every weight moved, so that none is the zero or one it started as."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def open_clip(folder: Path, vision: dict[str, Any] | None = None) -> None:
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    own = {"image_size": SIDE, "patch_size": PATCH, "width": 32, "layers": 2, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model_cfg: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision or own, "text_cfg": text}
    model = stirred((CustomTextCLIP if vision else CLIP)(**model_cfg))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS["open_clip"])
    model_cfg |= {"custom_text": True} if vision else {}
    preprocess = {"mean": OPENAI[0], "std": OPENAI[1], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))


def open_clip_timm(folder: Path) -> None:
    """A tower from timm, as EVA-CLIP's are."""
    vision = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False}
    open_clip(folder, {**vision, "timm_pool": "token", "timm_proj": None})


def clip_vision(folder: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    stirred(CLIPVisionModel(CLIPVisionConfig(**TOWER, image_size=SIDE, patch_size=PATCH))).save_pretrained(folder)
    _processor(CLIPImageProcessor, folder, size={"shortest_edge": SIDE}, crop_size=SIDE)


def clip_whole(folder: Path) -> None:
    """With its text tower, as CLIP checkpoints come."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    stirred(CLIPModel(CLIPConfig(text_config=text, vision_config=vision))).save_pretrained(folder)
    _processor(CLIPImageProcessor, folder, size={"shortest_edge": SIDE}, crop_size=SIDE)


def siglip(folder: Path) -> None:
    """SigLIP, and SigLIP 2 of a fixed resolution: the same classes."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    vision = {**TOWER, "image_size": SIDE, "patch_size": PATCH}
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    stirred(SiglipModel(SiglipConfig(text_config=text, vision_config=vision))).save_pretrained(folder)
    _processor(SiglipImageProcessor, folder, size={"height": SIDE, "width": SIDE})


def siglip2_naflex(folder: Path) -> None:
    from transformers import Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel

    config = Siglip2VisionConfig(**TOWER, patch_size=PATCH, num_patches=(SIDE // PATCH) ** 2)
    stirred(Siglip2VisionModel(config)).save_pretrained(folder)
    _processor(Siglip2ImageProcessor, folder, patch_size=PATCH, max_num_patches=(SIDE // PATCH) ** 2)


def dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    stirred(Dinov2Model(Dinov2Config(**TOWER, image_size=48, patch_size=PATCH))).save_pretrained(folder)
    _processor(BitImageProcessor, folder, size={"shortest_edge": 36}, crop_size=SIDE, **IMAGENET)


def dinov2_registers(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**TOWER, image_size=48, patch_size=PATCH, num_register_tokens=3)
    stirred(Dinov2WithRegistersModel(config)).save_pretrained(folder)
    _processor(BitImageProcessor, folder, size={"shortest_edge": 36}, crop_size=SIDE, **IMAGENET)


def _processor(processor_class: Any, folder: Path, **settings: Any) -> None:
    processor_class(**settings).save_pretrained(folder)


def autoencoder_kl(folder: Path, **settings: Any) -> None:
    from diffusers import AutoencoderKL

    sizes: dict[str, Any] = {"block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    model = AutoencoderKL(**sizes, **blocks, layers_per_block=1, **({"scaling_factor": 0.18215} | settings))
    stirred(model).save_pretrained(folder)


def autoencoder_flux(folder: Path) -> None:
    """As FLUX and SD3 have it: a shift, and no quantisation convolutions."""
    autoencoder_kl(folder, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)


def autoencoder_dc(folder: Path) -> None:
    from diffusers import AutoencoderDC

    levels: dict[str, Any] = {}
    for part in ("encoder", "decoder"):
        levels |= {
            f"{part}_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
            f"{part}_block_out_channels": (8, 8, 8),
            f"{part}_layers_per_block": (1, 1, 1),
            f"{part}_qkv_multiscales": ((), (), (5,)),
        }
    stirred(AutoencoderDC(**levels, latent_channels=4, attention_head_dim=4, scaling_factor=0.41407)).save_pretrained(
        folder
    )


def autoencoder_tiny(folder: Path) -> None:
    from diffusers import AutoencoderTiny

    widths = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
    stirred(AutoencoderTiny(**widths, **blocks)).save_pretrained(folder)


def autoencoder_rae(folder: Path) -> None:
    from diffusers import AutoencoderRAE

    encoder = {"encoder_hidden_size": 64, "encoder_patch_size": 14, "encoder_num_hidden_layers": 1}
    decoder = {"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    generator = torch.Generator().manual_seed(2)
    statistics = {
        "latents_mean": torch.randn(64, 4, 4, generator=generator),
        "latents_std": 0.5 + torch.rand(64, 4, 4, generator=generator),
    }
    model = AutoencoderRAE(
        **encoder, **decoder, **statistics, decoder_intermediate_size=32, encoder_input_size=56, patch_size=16
    )
    stirred(model).save_pretrained(folder)


WEIGHTS = {"open_clip": "open_clip_model.safetensors", "diffusers": "diffusion_pytorch_model.safetensors"}
TOWERS: dict[str, Callable[[Path], None]] = {
    "clip_vision": clip_vision,
    "clip_whole": clip_whole,
    "siglip": siglip,
    "siglip2_naflex": siglip2_naflex,
    "dinov2": dinov2,
    "dinov2_registers": dinov2_registers,
}
AUTOENCODERS: dict[str, Callable[[Path], None]] = {
    "autoencoder_kl": autoencoder_kl,
    "autoencoder_flux": autoencoder_flux,
    "autoencoder_dc": autoencoder_dc,
    "autoencoder_tiny": autoencoder_tiny,
    "autoencoder_rae": autoencoder_rae,
}
SAVERS: dict[str, Callable[[Path], None]] = {
    "open_clip": open_clip,
    "open_clip_timm": open_clip_timm,
    **TOWERS,
    **AUTOENCODERS,
}


def save(name: str, folder: Path) -> Path:
    """The checkpoint called ``name`` in a new folder, always with the same weights."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        SAVERS[name](folder)
    return folder
