"""Vision towers as targets: patch tokens of one block, pooled to a fixed grid.

BLIP3-o (arXiv 2505.09568) takes EVA-CLIP's last block before its final norm, without the class token, and averages
32 x 32 patches to 8 x 8 tokens. Every tower here is read the same way: tokens of block ``layer``, counted from the end,
before any final norm, or a sum of blocks that ends there (`unimm.encoders.block_sum`). A tower brings no way back to
pixels: ``decoder`` names the folder of a diffusion decoder that `unimm decoder train` made for it, or an AutoencoderRAE
(folder or hub id) that was trained on this tower.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.checkpoints import checkpoint_folder, on_hub
from unimm.components import Decoder
from unimm.encoders.block_sum import BlockSum, check_blocks
from unimm.encoders.calibrated import OutlinedEncoder
from unimm.encoders.images import Preprocessing
from unimm.encoders.rae_decoder import RaeDecoder
from unimm.encoders.token_decoder import TrainedDecoder
from unimm.foundation.folder import Foundation

AUTOENCODER = "config.json"  # of diffusers; a decoder of ours has decoder.json
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class VisionTower(OutlinedEncoder):
    """What all towers share: preprocessing, pooling, and a decoder from a folder."""

    class Config(BlockSum):
        """``pretrained``: local folder or hub name of the tower; ``grid``: side of the pooled tokens, null for its own.

        ``layer``: which block's tokens, from the end (-1: the last); ``resolution``: side at which the tower sees
        images, null for its own; ``standardise``: unit variance in every channel; ``dtype``: type of weights and
        activations; ``decoder``: folder of the decoder that `unimm decoder train` made for these latents.
        """

        pretrained: str = Field(min_length=1)
        grid: int | None = Field(8, ge=1)
        layer: int = Field(-1, le=-1)
        resolution: int | None = Field(None, ge=1)
        standardise: bool = True
        dtype: Literal["float32", "bfloat16"] = "float32"
        decoder: str | None = None

        def facts(self) -> dict[str, Any]:
            """What decides the tokens besides weights and preprocessing, for their fingerprint."""
            return self.model_dump(include={"grid", "layer", "dtype"}) | self.sum_facts()

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
        """Patch tokens of the configured blocks for preprocessed images, combined, as a grid."""

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        pixels = self.preprocessing(images).to(DTYPES[self.config.dtype])
        pooled: Tensor = F.adaptive_avg_pool2d(self.patches(pixels).float(), self.grid)
        return pooled.flatten(2).transpose(1, 2)

    def check_decodable(self) -> None:
        if self.config.decoder is None:
            raise ValueError(
                f"{self.config.pretrained} has no way back to pixels: train a decoder with `unimm decoder train "
                "ARM.yaml --out FOLDER`, then set encoder.decoder=FOLDER (or this tower's AutoencoderRAE)"
            )

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        self.check_decodable()
        assert self.config.decoder is not None
        own = self.config.decoder
        folder = checkpoint_folder(own) if on_hub(own) else Path(own)
        if (folder / AUTOENCODER).is_file():
            return RaeDecoder.load(own, self, foundation)
        return TrainedDecoder.load(str(folder), self, foundation, steps)


def grid_and_channels(
    config: VisionTower.Config, tower: Any, side: int, all_blocks: Callable[[Any, Tensor], Sequence[Tensor]]
) -> tuple[int, int]:
    """Side of the chosen blocks' grid and their channels, read off a pass without numbers.

    Args:
        config: which blocks are taken.
        tower: the library's module.
        side: of its images in pixels.
        all_blocks: the features [B, D, H, W] of all blocks, from the tower and images.

    Raises:
        ValueError: there are fewer blocks, their grid is not square, or blocks of several sizes are summed.
    """
    outline = copy.deepcopy(tower).to("meta").float()
    blocks = all_blocks(outline, torch.empty(1, 3, side, side, device="meta"))
    check_blocks(config, config.layer, len(blocks), config.pretrained)
    sizes = {tuple(blocks[number].shape[1:]) for number in config.blocks(config.layer)}
    if len(sizes) > 1:
        raise ValueError(f"{config.pretrained} has blocks of several sizes, which cannot be summed: set layers=1")
    channels, own, columns = sizes.pop()
    if own != columns:
        raise ValueError(f"{config.pretrained} has {own} x {columns} patches for a square image: choose another tower")
    return own, channels
