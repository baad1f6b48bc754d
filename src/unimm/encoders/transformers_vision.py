"""Vision towers of `transformers`: CLIP, SigLIP, SigLIP 2, DINOv2 and its registers, DINOv3, AIMv2, I-JEPA, MAE.

``config.json`` says which family a checkpoint belongs to: SigLIP 2 checkpoints of a fixed resolution are SigLIP models,
only the NaFlex ones have a class of their own. A whole CLIP, SigLIP or AIMv2 checkpoint works too: its text tower
is left out, and so is the decoder of an MAE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unimm.checkpoints import (
    check_complete,
    checkpoint_folder,
    config_folder,
    files_hash,
    read_config,
    reading,
    weight_files,
)
from unimm.encoders.block_sum import check_blocks
from unimm.encoders.calibrated import blank_on_meta
from unimm.encoders.images import Preprocessing, check_side, of_transformers
from unimm.encoders.tower import DTYPES, VisionTower
from unimm.foundation.folder import Foundation

CONFIG = "config.json"
STEMS = ("model",)
FIX = "give the folder of a vision tower that save_pretrained wrote: config.json beside model.safetensors"
TEXT_TOWER = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")


RAE, XL = "nyu-visionx/RAE-", "-ViTXL-n08"  # the AutoencoderRAE of a tower
RAEV2 = {"layers": 7, "every": 2, "normed": True}  # arXiv 2605.18324, k = 7


class Family:
    """How one model family is called: its library class, and how many tokens stand before the patches."""

    model_class: ClassVar[str]
    # Patterns of weights' names in a whole checkpoint, and what the library leaves to us to make of them.
    renamed: ClassVar[dict[str, str]] = {}
    # Parts of a whole checkpoint that are no part of the tower, by how their weights' names begin.
    others: ClassVar[tuple[str, ...]] = TEXT_TOWER
    # Whether the library refuses images of another side than the tower's, unless positions are to be interpolated.
    fixed_side: ClassVar[bool] = True

    @staticmethod
    def interpolates(config: Any) -> bool:
        """Whether it can be asked for images of another side at all."""
        return True

    @staticmethod
    def settings(config: Any) -> Any:
        """The configuration as an encoder needs it."""
        return config

    @staticmethod
    def prefix(config: Any) -> int:
        """Class and register tokens."""
        return 0

    @staticmethod
    def arguments(model: Any, pixels: Float[Tensor, "b 3 r r"]) -> dict[str, Any]:
        """Arguments of the model's forward pass."""
        own = model.config.image_size
        return {"pixel_values": pixels, "interpolate_pos_encoding": pixels.shape[-1] != own}


class ClipFamily(Family):
    """A class token, then patches."""

    model_class = "CLIPVisionModel"

    @staticmethod
    def prefix(config: Any) -> int:
        return 1


class SiglipFamily(Family):
    """Patches only."""

    model_class = "SiglipVisionModel"


class DinoFamily(Family):
    """A class token, registers where the model has them, then patches; positions are always interpolated."""

    model_class = "Dinov2Model"
    fixed_side = False

    @staticmethod
    def prefix(config: Any) -> int:
        return 1 + int(getattr(config, "num_register_tokens", 0))

    @staticmethod
    def arguments(model: Any, pixels: Float[Tensor, "b 3 r r"]) -> dict[str, Any]:
        return {"pixel_values": pixels}


class DinoRegistersFamily(DinoFamily):
    """DINOv2 with registers."""

    model_class = "Dinov2WithRegistersModel"


class Dinov3Family(DinoFamily):
    """DINOv3: rotary positions, so that any side fits."""

    model_class = "DINOv3ViTModel"


class Aimv2Family(Family):
    """AIMv2: patches only; positions are learned for one side, or sines (``is_native``), and never interpolated."""

    model_class = "Aimv2VisionModel"
    renamed = {r"^vision_model\.": ""}  # noqa: RUF012

    @staticmethod
    def interpolates(config: Any) -> bool:
        return bool(config.is_native)

    @staticmethod
    def arguments(model: Any, pixels: Float[Tensor, "b 3 r r"]) -> dict[str, Any]:
        return {"pixel_values": pixels}


class IJepaFamily(Family):
    """I-JEPA: patches only."""

    model_class = "IJepaModel"


class MaeFamily(ClipFamily):
    """MAE: a class token, then patches; none is masked, and they keep their order."""

    model_class = "ViTMAEModel"
    others = ("decoder.",)

    @staticmethod
    def settings(config: Any) -> Any:
        config.mask_ratio = 0.0
        return config

    @staticmethod
    def arguments(model: Any, pixels: Float[Tensor, "b 3 r r"]) -> dict[str, Any]:
        patches = (pixels.shape[-1] // int(model.config.patch_size)) ** 2
        order = torch.arange(patches, device=pixels.device, dtype=torch.float32).expand(len(pixels), -1)
        return {**Family.arguments(model, pixels), "noise": order}


class NaflexFamily(Family):
    """SigLIP 2 NaFlex: images come as a list of flattened patches (channels last) with the shape of their grid."""

    model_class = "Siglip2VisionModel"
    fixed_side = False

    @staticmethod
    def arguments(model: Any, pixels: Float[Tensor, "b 3 r r"]) -> dict[str, Any]:
        patch, batch = int(model.config.patch_size), len(pixels)
        side = pixels.shape[-1] // patch
        folded = pixels.reshape(batch, -1, side, patch, side, patch).permute(0, 2, 4, 3, 5, 1)
        return {
            "pixel_values": folded.reshape(batch, side * side, -1),
            "pixel_attention_mask": None,
            "spatial_shapes": torch.tensor([[side, side]] * batch, device="cpu"),
        }


FAMILIES: dict[str, type[Family]] = {
    "clip_vision_model": ClipFamily,
    "siglip_vision_model": SiglipFamily,
    "siglip2_vision_model": NaflexFamily,
    "dinov2": DinoFamily,
    "dinov2_with_registers": DinoRegistersFamily,
    "dinov3_vit": Dinov3Family,
    "aimv2_vision_model": Aimv2Family,
    "ijepa": IJepaFamily,
    "vit_mae": MaeFamily,
}


class TransformersVision(VisionTower):
    """Vision tower of `transformers` (CLIP, SigLIP, DINOv2, DINOv3, AIMv2, I-JEPA, MAE), pooled to a fixed grid."""

    phrase = "features of a vision tower"
    examples = (
        {"pretrained": "openai/clip-vit-large-patch14"},
        {"pretrained": "google/siglip2-so400m-patch16-256"},
        {"pretrained": "google/siglip2-so400m-patch14-224"},
        {"pretrained": "google/siglip2-base-patch16-naflex"},
        {
            "pretrained": "google/siglip2-base-patch16-256",
            "grid": None,
            "decoder": f"{RAE}siglip2-base-p16-i256-ViTXL-n08",
        },
        {
            "pretrained": "facebook/dinov2-with-registers-base",
            "grid": None,
            "decoder": f"{RAE}dinov2-wReg-base-ViTXL-n08",
        },
        {
            "pretrained": "facebook/vit-mae-base",
            "grid": None,
            "resolution": 256,
            "decoder": f"{RAE}mae-base-p16-ViTXL-n08",
        },
        {"pretrained": "facebook/dinov3-vitb16-pretrain-lvd1689m", "grid": 7},
        {"pretrained": "facebook/dinov3-vitl16-pretrain-lvd1689m", "grid": None, "resolution": 256, **RAEV2},
        {"pretrained": "apple/aimv2-large-patch14-224-lit"},
        {"pretrained": "facebook/ijepa_vith14_1k"},
    )

    def __init__(
        self,
        config: VisionTower.Config,
        family: type[Family],
        model: Any,
        preprocessing: Preprocessing,
        fingerprint: str,
    ) -> None:
        check_blocks(config, config.layer, int(model.config.num_hidden_layers), config.pretrained)
        own = preprocessing.side // int(model.config.patch_size)
        super().__init__(config, preprocessing, own, int(model.config.hidden_size), fingerprint)
        self.family, self.own = family, own
        self.model: nn.Module = model
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: VisionTower.Config, foundation: Foundation) -> TransformersVision:
        folder = checkpoint_folder(config.pretrained)
        family, settings = _family(folder)
        preprocessing = _preprocessing(folder, family, settings, config.resolution)
        content = read_config(folder, CONFIG, FIX)
        files = weight_files(folder, STEMS)
        with reading(folder, family.model_class):
            model, report = _library_class(family).from_pretrained(
                folder,
                config=settings,
                dtype=DTYPES[config.dtype],
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                key_mapping=family.renamed or None,
            )
        check_complete(folder, family.model_class, report, foreign=family.others)
        return cls(config, family, model, preprocessing, files_hash(files, content, preprocessing, config.facts()))

    @classmethod
    def on_meta(cls, config: VisionTower.Config, resolution: int) -> TransformersVision:
        folder = config_folder(config.pretrained)
        family, settings = _family(folder)
        with torch.device("meta"):
            model = _library_class(family)(settings).to(DTYPES[config.dtype])
        encoder = cls(config, family, model, _preprocessing(folder, family, settings, config.resolution), "meta")
        blank_on_meta(encoder)
        return encoder

    def patches(self, pixels: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b d h w"]:
        output = self.model(**self.family.arguments(self.model, pixels), output_hidden_states=True)
        prefix, square = self.family.prefix(self.model.config), (self.own, self.own)
        states = (output.hidden_states[number][:, prefix:] for number in self.config.blocks(self.config.layer))
        return self.config.combined([tokens.transpose(1, 2).unflatten(2, square) for tokens in states])  # type: ignore[no-any-return]


def _library_class(family: type[Family]) -> Any:
    import transformers

    return getattr(transformers, family.model_class)


def _family(folder: Path) -> tuple[type[Family], Any]:
    """The family of a folder's checkpoint and the configuration of its vision tower."""
    from transformers import AutoConfig

    content = read_config(folder, CONFIG, FIX)
    kind = content.get("vision_config", content).get("model_type", content.get("model_type"))
    if kind in ("clip", "siglip", "siglip2", "aimv2"):
        kind = f"{kind}_vision_model"
    if kind not in FAMILIES:
        raise ValueError(
            f"{folder / CONFIG}: model_type {content.get('model_type')!r} is no vision tower that unimm knows; give "
            f"one of {', '.join(FAMILIES)} (open_clip models: encoder=open_clip; autoencoders: encoder=autoencoder_kl)"
        )
    with reading(folder, FAMILIES[kind].model_class):
        settings = AutoConfig.from_pretrained(folder)
    return FAMILIES[kind], FAMILIES[kind].settings(getattr(settings, "vision_config", settings))


def _preprocessing(folder: Path, family: type[Family], settings: Any, resolution: int | None) -> Preprocessing:
    """The processor's, at ``resolution`` or its own side; ValueError for a side that the tower does not take."""
    square = {"image_size": getattr(settings, "image_size", None), "patch_size": settings.patch_size}
    for key, value in square.items():
        if isinstance(value, list | tuple) and len(set(value)) > 1:
            raise ValueError(f"{folder / CONFIG}: {key} is {list(value)}; a target needs a tower of square images")
    if resolution is not None:
        check_side(resolution, int(settings.patch_size), f"the tower in {folder}", "encoder.resolution")
        if not family.interpolates(settings) and resolution != square["image_size"]:
            raise ValueError(
                f"the tower in {folder} has positions for {square['image_size']} pixels alone, and transformers does "
                "not interpolate them: set encoder.resolution=null"
            )
    found, own = of_transformers(folder, resolution), square["image_size"]
    own = own[0] if isinstance(own, list | tuple) else own
    if resolution is None and family.fixed_side and found.side != own:
        raise ValueError(
            f"the processor in {folder} makes images of {found.side} pixels, but the tower takes {own}: set "
            f"encoder.resolution={own} or, with its positions interpolated, encoder.resolution={found.side}"
        )
    return found
