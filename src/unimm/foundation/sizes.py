"""Sizes and budgets of a foundation's parts, one table per profile.

Budgets are optimiser steps, so that a busy machine makes the same parts as a quiet one; the card says what they took.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """One profile's foundation."""

    world: str
    resolution: int
    scenes: int
    clip: dict[str, Any]
    evaluators: tuple[dict[str, Any], ...]
    vae: dict[str, Any]
    unshuffle: int
    backbone: dict[str, Any]
    decoder: dict[str, Any]
    features: int
    steps: dict[str, int] = field(default_factory=dict)
    grid: int = 4
    patch: int = 2


def _clip(vision: dict[str, Any], width: int, layers: int) -> dict[str, Any]:
    text = {
        "context_length": 64,
        "width": width,
        "heads": width // 32,
        "layers": layers,
        "no_causal_mask": False,
    }
    return {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text}


def _vit(width: int, layers: int, patch: int = 8, mlp: float = 3.0) -> dict[str, Any]:
    return {
        "image_size": 64,
        "patch_size": patch,
        "width": width,
        "layers": layers,
        "head_width": 32,
        "mlp_ratio": mlp,
    }


NANO = Sizes(
    world="scenes-nano",
    resolution=64,
    scenes=24_000,
    clip=_clip(_vit(128, 4), 128, 2),
    evaluators=(_clip(_vit(96, 3, patch=16), 96, 2), _clip(_vit(64, 5, mlp=2.0), 64, 3)),
    vae={
        "in_channels": 12,
        "out_channels": 12,
        "latent_channels": 4,
        "block_out_channels": (24, 48, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 32,
        "mid_block_add_attention": False,
    },
    unshuffle=2,
    backbone={
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 48,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
    decoder={"width": 192, "layers": 3, "heads": 4},
    features=64,
    steps={
        "vae": 1700,
        "clip": 2000,
        "features": 800,
        "evaluator_0": 800,
        "evaluator_1": 800,
        "language": 1500,
        "decoder": 4000,
        "understanding": 2000,
    },
)
