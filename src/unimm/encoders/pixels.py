"""Pixels as the target: the control without any encoder.

Patches of ``patch`` x ``patch`` pixels in [-1, 1] are tokens. A head needs at least as many channels as a token has,
or an objective that predicts the data, to do them justice (arXiv 2511.13720).
"""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import CalibratedEncoder, blank_on_meta
from unimm.encoders.vae import patchify
from unimm.registry import decoders


class Pixels(CalibratedEncoder):
    """Patches of the image itself: the control without an encoder."""

    class Config(ComponentConfig):
        """``patch``: pixels a side of one token; ``resolution``: null for that of the data."""

        patch: int = Field(16, ge=1)
        resolution: int | None = Field(None, ge=1)
        standardise: bool = True

    def __init__(self, config: Config, side: int) -> None:
        if side % config.patch:
            raise ValueError(f"encoder.patch={config.patch} does not divide images of {side} pixels")
        grid = side // config.patch
        super().__init__((grid, grid), 3 * config.patch**2, f"pixels-{config.patch}-{config.resolution}")
        self.config = config

    @classmethod
    def build(cls, config: Config, foundation: Any) -> Pixels:
        return cls(config, config.resolution or foundation.resolution)

    @classmethod
    def on_meta(cls, config: Config, resolution: int) -> Pixels:
        encoder = cls(config, config.resolution or resolution)
        blank_on_meta(encoder)
        return encoder

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        side = self.config.resolution
        if side is not None and images.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return patchify(images * 2 - 1, self.config.patch)

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        own: Any = decoders.get("pixels")
        return cast("Decoder", own(self.config.patch, self.statistics, foundation.resolution))
