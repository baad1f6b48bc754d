"""Any vision tower of `timm`, from a folder that `timm.models.save_for_hf` wrote, or from the hub.

Perception Encoder (arXiv 2504.13181), and, where a checkpoint comes in timm's format, DINOv3, AIMv2, I-JEPA, MAE and
whatever else has `forward_intermediates`. ``config.json`` names the architecture and, as ``pretrained_cfg``, the side,
mean, deviation and interpolation of its images. A crop is left out: a target needs the whole image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from unimm.checkpoints import checkpoint_folder, config_folder, files_hash, read_config, reading, weight_files
from unimm.encoders.calibrated import blank_on_meta
from unimm.encoders.images import Preprocessing, check_side
from unimm.encoders.tower import DTYPES, VisionTower, grid_and_channels
from unimm.foundation.folder import Foundation

CONFIG = "config.json"
STEMS = ("model",)
LIBRARY = "a timm model"
FIX = "give the folder of a timm model: config.json beside model.safetensors, as timm.models.save_for_hf writes them"


class TimmVision(VisionTower):
    """Vision tower of `timm` (Perception Encoder, DINOv3, AIMv2, MAE, ...), its patch tokens pooled to a fixed grid."""

    phrase = "features of a timm tower"
    examples = ({"pretrained": "timm/vit_pe_core_base_patch16_224.fb", "grid": 7},)

    def __init__(self, config: VisionTower.Config, model: Any, preprocessing: Preprocessing, fingerprint: str) -> None:
        own, channels = grid_and_channels(config, model, preprocessing.side, _all_blocks)
        super().__init__(config, preprocessing, own, channels, fingerprint)
        self.model = model
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: VisionTower.Config, foundation: Foundation) -> TimmVision:
        folder = checkpoint_folder(config.pretrained)
        settings = _described(folder)
        files = weight_files(folder, STEMS)
        model = _tower(folder, config.resolution, files)
        preprocessing = _preprocessing(folder, settings, config.resolution)
        fingerprint = files_hash(files, settings, preprocessing, config.facts())
        return cls(config, model.to(DTYPES[config.dtype]), preprocessing, fingerprint)

    @classmethod
    def on_meta(cls, config: VisionTower.Config, resolution: int) -> TimmVision:
        folder = config_folder(config.pretrained)
        settings = _described(folder)
        with torch.device("meta"):
            model = _tower(folder, config.resolution, []).to(DTYPES[config.dtype])
        encoder = cls(config, model, _preprocessing(folder, settings, config.resolution), "meta")
        blank_on_meta(encoder)
        return encoder

    def patches(self, pixels: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b d h w"]:
        chosen = self.config.blocks(self.config.layer)
        blocks = self.model.forward_intermediates(pixels, indices=chosen, intermediates_only=True)
        return self.config.combined(blocks)  # type: ignore[no-any-return]


def _all_blocks(model: Any, pixels: Tensor) -> Any:
    return model.forward_intermediates(pixels, intermediates_only=True)


def _described(folder: Path) -> dict[str, Any]:
    """``config.json``, which has to name an architecture of the installed timm."""
    import timm

    settings = read_config(folder, CONFIG, FIX)
    name = settings.get("architecture")
    if name is None:
        raise ValueError(f"{folder / CONFIG} names no architecture: {FIX} (transformers: encoder=transformers_vision)")
    if not timm.is_model(name):
        raise ValueError(f"{folder / CONFIG}: the installed timm {timm.__version__} has no {name}; install a newer one")
    return settings


def _tower(folder: Path, resolution: int | None, weights: list[Path]) -> Any:
    """The tower with the files' weights, its positions interpolated to a resolution afterwards."""
    import timm

    with reading(folder, LIBRARY):
        model: Any = timm.create_model(f"local-dir:{folder}", pretrained=False)
        if weights:
            model.load_state_dict({name: value for file in weights for name, value in load_file(file).items()})
    if not hasattr(model, "forward_intermediates"):
        raise ValueError(f"{folder} is a {type(model).__name__}, whose blocks timm does not give: use another tower")
    if resolution is not None:
        patch = model.patch_embed.patch_size if hasattr(model, "patch_embed") else (32, 32)
        check_side(resolution, int(patch[0]), f"the tower in {folder}", "encoder.resolution")
        if hasattr(model, "set_input_size"):
            model.set_input_size(img_size=(resolution, resolution))
    return model


def _preprocessing(folder: Path, settings: dict[str, Any], resolution: int | None) -> Preprocessing:
    stated = settings.get("pretrained_cfg", settings)
    missing = [key for key in ("input_size", "mean", "std", "interpolation") if key not in stated]
    if missing:
        raise ValueError(f"{folder / CONFIG} does not say {', '.join(missing)}; {FIX}")
    if stated["interpolation"] not in ("bicubic", "bilinear"):
        raise ValueError(
            f"{folder / CONFIG}: interpolation is {stated['interpolation']!r}; a target needs one fixed interpolation: "
            "bicubic or bilinear"
        )
    _, *sides = stated["input_size"]
    if len(set(sides)) > 1:
        raise ValueError(f"{folder / CONFIG}: input_size is {sides}; a target needs a tower of square images")
    return Preprocessing(
        resolution or int(sides[0]), tuple(stated["mean"]), tuple(stated["std"]), stated["interpolation"]
    )
