"""Vision towers as targets: patch tokens of one block, pooled to a fixed grid.

BLIP3-o (arXiv 2505.09568) takes EVA-CLIP's last block before its final norm, without the class token, and averages
32 x 32 patches to 8 x 8 tokens. Every tower here is read the same way: tokens of block ``layer``, counted from the end,
before any final norm. A tower brings no way back to pixels: ``decoder`` names the folder of a diffusion decoder that
`unimm decoder train` made for it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import OutlinedEncoder
from unimm.encoders.images import Preprocessing
from unimm.encoders.token_decoder import TrainedDecoder
from unimm.foundation.folder import Foundation

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class VisionTower(OutlinedEncoder):
    """What all towers share: preprocessing, pooling, and a decoder from a folder."""

    class Config(ComponentConfig):
        """``grid``: side of the pooled tokens, null for the tower's own; ``resolution``: null for the tower's own."""

        pretrained: str = Field(min_length=1)
        grid: int | None = Field(8, ge=1)
        layer: int = Field(-1, le=-1)
        resolution: int | None = Field(None, ge=1)
        standardise: bool = True
        dtype: Literal["float32", "bfloat16"] = "float32"
        decoder: str | None = None

    def __init__(self, config: Config, preprocessing: Preprocessing, own: int, channels: int, fingerprint: str) -> None:
        side = config.grid or own
        if own % side:
            fitting = ", ".join(str(number) for number in range(1, own + 1) if own % number == 0)
            raise ValueError(
                f"encoder.grid={side} does not divide the {own} x {own} patches of {config.pretrained} at "
                f"{preprocessing.side} pixels; choose one of {fitting}, or another encoder.resolution"
            )
        super().__init__((side, side), channels, fingerprint)
        self.config, self.preprocessing = config, preprocessing

    @abstractmethod
    def patches(self, pixels: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b d h w"]:
        """Patch tokens of the configured block for preprocessed images, as a grid."""

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        pixels = self.preprocessing(images).to(DTYPES[self.config.dtype])
        pooled: Tensor = F.adaptive_avg_pool2d(self.patches(pixels).float(), self.grid)
        return pooled.flatten(2).transpose(1, 2)

    def check_decodable(self) -> None:
        if self.config.decoder is None:
            raise ValueError(
                f"{self.config.pretrained} has no way back to pixels: train a decoder with `unimm decoder train "
                "ARM.yaml --out FOLDER`, then set encoder.decoder=FOLDER"
            )

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        self.check_decodable()
        assert self.config.decoder is not None
        return TrainedDecoder.load(self.config.decoder, self, foundation, steps)


def check_layer(layer: int, blocks: int, pretrained: str) -> None:
    """ValueError where the tower has no such block."""
    if -layer > blocks:
        raise ValueError(
            f"encoder.layer={layer}, but {pretrained} has {blocks} blocks: choose -1 (the last) to -{blocks}"
        )
