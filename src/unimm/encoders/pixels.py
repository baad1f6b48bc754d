"""Pixels as the target: the control without any encoder.

Patches of ``patch`` x ``patch`` pixels in [-1, 1] are tokens. A head needs at least as many channels as a token has,
or an objective that predicts the data, to do them justice (arXiv 2511.13720).
"""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import OutlinedEncoder, blank_on_meta
from unimm.encoders.images import check_drawn, check_side, resized
from unimm.encoders.vae import patchify
from unimm.foundation.folder import Foundation
from unimm.registry import decoders


class Pixels(OutlinedEncoder):
    """Patches of the image itself: the control without an encoder."""

    phrase = "pixels"

    class Config(ComponentConfig):
        """``patch``: pixels a side of one token; ``resolution``: side of what is cut, null for that of the data.

        ``standardise``: unit variance in every channel.
        """

        patch: int = Field(16, ge=1)
        resolution: int | None = Field(None, ge=1)
        standardise: bool = True

    def __init__(self, config: Config, side: int) -> None:
        setting = "source.resolution" if config.resolution is None else "encoder.resolution"
        check_side(side, config.patch, f"encoder=pixels with patch={config.patch}", setting)
        grid = side // config.patch
        super().__init__((grid, grid), 3 * config.patch**2, f"pixels-{config.patch}-{config.resolution}")
        self.config = config

    @classmethod
    def build(cls, config: Config, foundation: Foundation) -> Pixels:
        return cls(config, config.resolution or foundation.resolution)

    @classmethod
    def on_meta(cls, config: Config, resolution: int) -> Pixels:
        encoder = cls(config, config.resolution or resolution)
        blank_on_meta(encoder)
        return encoder

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return patchify(resized(images, self.config.resolution or images.shape[-1]) * 2 - 1, self.config.patch)

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        drawn = self.grid[0] * self.config.patch
        check_drawn(drawn, foundation.resolution, "encoder=pixels", "encoder.resolution=null")
        own: Any = decoders.get("pixels")
        return cast("Decoder", own(self.config.patch, self.statistics, foundation.resolution))
