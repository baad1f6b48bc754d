"""CLIP features as the target: an open_clip image tower whose patch grid is pooled to a fixed number of tokens.

BLIP3-o (arXiv 2505.09568) pools EVA-CLIP's 32 x 32 grid to 64 tokens of 1792 channels, whatever the image. Here the
patch tokens of the last block are average-pooled to ``grid`` x ``grid``. ``standardise`` divides out the exact
per-channel statistics; the paper's own choice is raw features (``settings=published``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import CalibratedEncoder
from unimm.encoders.sides import resized
from unimm.encoders.statistics import Statistics
from unimm.registry import decoders


class Clip(CalibratedEncoder):
    """Pooled patch features of a CLIP image tower."""

    class Config(ComponentConfig):
        """``grid``: side of the pooled token grid (4 gives 16 tokens); ``decoder``: null for the foundation's own."""

        grid: int = Field(4, ge=1)
        standardise: bool = True
        # Left out of the text that names latent caches: what decodes them does not change them.
        decoder: str | None = Field(None, repr=False)

    def __init__(self, config: Config, model: Any, statistics: Statistics, fingerprint: str) -> None:
        super().__init__((config.grid, config.grid), statistics.mean.numel(), fingerprint, statistics)
        self.config = config
        self.visual = model.visual
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: Config, foundation: Any) -> Clip:
        return cast("Clip", foundation.clip(config))

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        if self.config.decoder is None:
            return cast("Decoder", foundation.diffusion_decoder(self.config.standardise, steps))
        trained: Any = decoders.get("trained")
        return cast("Decoder", trained.load(self.config.decoder, self, foundation, steps))

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        """Raw pooled features, before statistics."""
        return pooled_features(self.visual, images, self.config.grid)


def pooled_features(visual: Any, images: Float[Tensor, "b 3 s s"], grid: int) -> Float[Tensor, "b n d"]:
    """Patch tokens of the last block, average-pooled to ``grid`` x ``grid``.

    Images are resized to the tower's own size first, so the number of tokens never depends on the resolution.
    """
    images = resized(images, int(visual.image_size[0]))
    output = visual.forward_intermediates(images * 2 - 1, indices=1, intermediates_only=True)
    pooled: Tensor = F.adaptive_avg_pool2d(output["image_intermediates"][-1], grid).flatten(2).transpose(1, 2)
    return pooled


def build_clip(config: dict[str, Any]) -> Any:
    """An open_clip model with fresh weights from its ``model_cfg``."""
    from open_clip.model import CLIP

    return CLIP(**config)


def load_clip(folder: Path) -> Any:
    """An open_clip model from ``open_clip_config.json`` and ``open_clip_model.safetensors`` in a folder."""
    from safetensors.torch import load_file

    model = build_clip(json.loads((folder / "open_clip_config.json").read_text())["model_cfg"])
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model.eval().requires_grad_(False)
