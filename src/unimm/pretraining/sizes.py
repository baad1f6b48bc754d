"""Sizes and budgets of a foundation's parts, one table per profile.

Budgets are optimiser steps, so that a busy machine makes the same parts as a quiet one; the card says what they took.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

PARTS = ("vae", "clip", "features", "evaluator_0", "evaluator_1", "language", "decoder", "understanding")
JUDGES = ("features", "evaluator_0", "evaluator_1")
TOKEN_NOISE = 0.8  # tau of RAE (arXiv 2510.11690)


@dataclass(frozen=True)
class Stage:
    """How a stage of the backbone trains: rows a step (about images, where it sees some) and the highest rate."""

    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Reading(Stage):
    """The language stage; its first ``pairs`` steps show lists of any words, the next ``objects`` lists of objects
    (`unimm.pretraining.recall`)."""

    pairs: int = 0
    objects: int = 0


@dataclass(frozen=True)
class Sizes:
    """One profile's foundation: its parts are those that have ``steps``, but for the ``tower`` without text.

    ``base``: the shipped foundation whose parts are used where a recipe is the same; a further draw takes only what
    judges images from it, so that all draws are judged alike. ``questions``: how the world's scenes are asked about;
    ``reading``, ``seeing``: how the backbone's language and understanding stages train.
    """

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
    base: str | None = None
    questions: str = "by_scene"
    reading: Reading = Reading(64, 1.5e-3)
    seeing: Stage = Stage(16, 1e-3)

    def shared(self, draw: int) -> tuple[str, ...]:
        """The parts that a draw takes from the base."""
        if self.base is None:
            return ()
        return JUDGES if draw else (*JUDGES, "vae", "clip", "decoder")


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
        "pool_type": "avg",
    }


def _vae(channels: tuple[int, int, int], latent_channels: int) -> dict[str, Any]:
    return {
        "in_channels": 12,
        "out_channels": 12,
        "latent_channels": latent_channels,
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 32,
        "mid_block_add_attention": False,
    }


def _backbone(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": width * 8 // 3,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": width // heads,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    }


TINY = Sizes(
    world="scenes-nano",
    resolution=64,
    scenes=144,
    clip=_clip(_vit(32, 1), 32, 1),
    evaluators=(_clip(_vit(32, 1, patch=16), 32, 1), _clip(_vit(32, 2, patch=16), 32, 1)),
    vae=_vae((8, 8, 8), 2),
    unshuffle=2,
    backbone=_backbone(32, 1, 2),
    decoder={"width": 32, "layers": 1, "heads": 2},
    features=16,
    steps=dict.fromkeys((*PARTS, "tower"), 2),
)
NANO = Sizes(
    world="scenes-nano",
    resolution=64,
    scenes=24_000,
    clip=_clip(_vit(128, 4), 128, 2),
    evaluators=(_clip(_vit(96, 3, patch=16), 96, 2), _clip(_vit(64, 5, mlp=2.0), 64, 3)),
    vae=_vae((24, 48, 64), 4),
    unshuffle=2,
    backbone=_backbone(192, 4, 4),
    decoder={"width": 192, "layers": 3, "heads": 4},
    features=64,
    steps={
        "vae": 900,
        "clip": 1200,
        "features": 400,
        "evaluator_0": 400,
        "evaluator_1": 400,
        "language": 600,
        "decoder": 4500,
        "understanding": 2000,
        "tower": 1200,
    },
)
SMALL = Sizes(
    world="scenes",
    resolution=64,
    scenes=120_000,
    clip=_clip(_vit(256, 6), 256, 4),
    evaluators=(_clip(_vit(192, 4, patch=16), 192, 3), _clip(_vit(128, 8, mlp=2.0), 128, 4)),
    vae=_vae((64, 128, 128), 4),
    unshuffle=2,
    backbone=_backbone(384, 8, 6),
    decoder={"width": 384, "layers": 6, "heads": 6},
    features=128,
    steps={
        "vae": 12_000,
        "clip": 12_000,
        "features": 6_000,
        "evaluator_0": 8_000,
        "evaluator_1": 8_000,
        "language": 8_000,
        "decoder": 30_000,
        "understanding": 15_000,
        "tower": 12_000,
    },
)
NANO_2 = replace(
    NANO,
    base="scenes-nano",
    questions="by_answer",
    backbone={**NANO.backbone, "attention_bias": True},
    reading=Reading(64, 1.5e-3, pairs=1000, objects=600),
    seeing=Stage(48, 1.5e-3),
    steps={**NANO.steps, "language": 3000, "decoder_noised": 4500, "understanding": 3000},
)
SIZES = {"tiny": TINY, "nano": NANO, "nano-2": NANO_2, "small": SMALL}


def sizes_of(profile: str) -> Sizes:
    """A profile's sizes; ValueError lists the profiles that have any."""
    if profile not in SIZES:
        raise ValueError(f"no foundation recipe for profile {profile!r}; known: {', '.join(SIZES)}")
    return SIZES[profile]
