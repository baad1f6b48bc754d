"""Tiny random checkpoints of judges: a detector for COCO's classes, and the CLIP that names its colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

COLOURS_CLIP = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MOUSE = 64


def colours_clip(folder: Path) -> None:
    """An open_clip folder with OpenAI's tokenizer."""
    from safetensors.torch import save_file

    from unimm.encoders.clip import build_clip

    weights = {name: tensor.contiguous() for name, tensor in build_clip(COLOURS_CLIP).state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    config = {"model_cfg": COLOURS_CLIP, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def coco_labels() -> list[str]:
    """COCO's 80 labels in darknet's spelling, in the order of GenEval's names for them."""
    from unimm.evaluation.detectors.instances import RENAMED
    from unimm.evaluation.geneval.prompts import OBJECT_NAMES

    spelling = {name: label for label, name in RENAMED.items()}
    return [spelling.get(name, name) for name in OBJECT_NAMES]


def mask2former(folder: Path) -> None:
    """Sees a computer mouse everywhere."""
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        SwinConfig,
    )

    stages = [f"stage{n}" for n in (1, 2, 3, 4)]
    swin = SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, out_features=stages)
    sizes = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_attention_heads": 2}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_feedforward_dim": 16, "dim_feedforward": 16}
    labels = dict(enumerate(coco_labels()))
    model = Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=swin, num_queries=20, id2label=labels, **sizes, **layers)
    )
    with torch.no_grad():
        model.class_predictor.bias[MOUSE] = 10.0
    model.save_pretrained(folder)
    Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)


JUDGES: dict[str, Callable[[Path], None]] = {"colours_clip": colours_clip, "mask2former": mask2former}
