"""Any open_clip model's image tower, from a folder with ``open_clip_config.json`` and weights, or from the hub.

EVA02-E-14-plus pooled to 8 x 8 tokens of 1792 channels is BLIP3-o's target.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.checkpoints import checkpoint_folder, config_folder, files_hash, read_config, reading, weight_files
from unimm.encoders.calibrated import blank_on_meta
from unimm.encoders.images import Preprocessing, check_side
from unimm.encoders.tower import DTYPES, VisionTower, grid_and_channels
from unimm.foundation.folder import Foundation

CONFIG = "open_clip_config.json"
STEMS = ("open_clip_model", "open_clip_pytorch_model", "model")
LIBRARY = "an open_clip model"
FIX = "give the folder of an open_clip model: open_clip_config.json beside open_clip_model.safetensors"


class OpenClip(VisionTower):
    """Image tower of any open_clip model, its patch tokens pooled to a fixed grid."""

    phrase = "features of an open_clip tower"
    examples = (
        {"pretrained": "timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k", "resolution": 448},
        {"pretrained": "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "resolution": 448},
    )

    def __init__(self, config: VisionTower.Config, visual: Any, preprocessing: Preprocessing, fingerprint: str) -> None:
        own, channels = grid_and_channels(config, visual, preprocessing.side, _all_blocks)
        super().__init__(config, preprocessing, own, channels, fingerprint)
        self.visual = visual
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: VisionTower.Config, foundation: Foundation) -> OpenClip:
        folder = checkpoint_folder(config.pretrained)
        settings = read_config(folder, CONFIG, FIX)
        files = weight_files(folder, STEMS)
        visual = _tower(folder, config.resolution, files[0])
        preprocessing = _preprocessing(folder, visual)
        fingerprint = files_hash(files, settings, preprocessing, config.facts())
        return cls(config, visual.to(DTYPES[config.dtype]), preprocessing, fingerprint)

    @classmethod
    def on_meta(cls, config: VisionTower.Config, resolution: int) -> OpenClip:
        folder = config_folder(config.pretrained)
        read_config(folder, CONFIG, FIX)
        with torch.device("meta"):
            visual = _tower(folder, config.resolution, None).to(DTYPES[config.dtype])
        encoder = cls(config, visual, _preprocessing(folder, visual), "meta")
        blank_on_meta(encoder)
        return encoder

    def patches(self, pixels: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b d h w"]:
        chosen = self.config.blocks(self.config.layer)
        output = self.visual.forward_intermediates(pixels, indices=chosen, intermediates_only=True)
        return self.config.combined(output["image_intermediates"])  # type: ignore[no-any-return]


def whole_model(folder: Path) -> tuple[Any, Any]:
    """The whole model of a folder in float32, frozen, and its tokenizer; ValueError says what the folder lacks."""
    import open_clip

    read_config(folder, CONFIG, FIX)
    (weights,) = weight_files(folder, STEMS)[:1]
    model = _model(folder, None, weights)
    with reading(folder, LIBRARY):
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return model.float().eval().requires_grad_(False), tokenizer


def _tower(folder: Path, resolution: int | None, weights: Path | None) -> Any:
    """The image tower of `_model`."""
    return _model(folder, resolution, weights).visual


def _model(folder: Path, resolution: int | None, weights: Path | None) -> Any:
    """The model at a resolution of images, with the file's weights where one is given.

    open_clip's own towers interpolate positions while weights are loaded, timm's afterwards.
    """
    import open_clip

    with reading(folder, LIBRARY):
        timm = "timm_model_name" in open_clip.get_model_config(f"local-dir:{folder}")["vision_cfg"]
        model = open_clip.create_model(
            f"local-dir:{folder}",
            load_weights=False,
            force_image_size=None if timm else resolution,
            pretrained_text=False,
            device=torch.get_default_device(),
        )
    if resolution is not None:
        check_side(resolution, _patch(model.visual), f"the tower in {folder}", "encoder.resolution")
    with reading(folder, LIBRARY):
        if weights is not None:
            open_clip.load_checkpoint(model, str(weights))
        if timm and resolution:
            model.visual.set_input_size(resolution)
    return model


def _patch(visual: Any) -> int:
    """Pixels a side of a patch."""
    sizes = visual.trunk.patch_embed.patch_size if hasattr(visual, "trunk") else visual.patch_size
    return int(sizes[0])


def _preprocessing(folder: Path, visual: Any) -> Preprocessing:
    stated = visual.preprocess_cfg
    if stated["interpolation"] not in ("bicubic", "bilinear"):
        raise ValueError(
            f"{folder / CONFIG}: preprocess_cfg.interpolation is {stated['interpolation']!r}; a target needs one fixed "
            "interpolation: bicubic or bilinear"
        )
    size = visual.image_size
    sides = {int(size)} if isinstance(size, int) else {int(side) for side in size}
    if len(sides) > 1:
        raise ValueError(
            f"{folder / CONFIG}: the tower takes images of {' x '.join(map(str, size))} pixels, and a target's are "
            f"square: set encoder.resolution={min(sides)}, with its positions interpolated, or choose another tower"
        )
    return Preprocessing(sides.pop(), tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"])


def _all_blocks(visual: Any, pixels: Tensor) -> Any:
    return visual.forward_intermediates(pixels, intermediates_only=True)["image_intermediates"]
