"""Sums of blocks of the foundation's CLIP as the target; one block as it is makes the same latents as ``clip``.

Statistics and decoder of a foundation are for its CLIP's last block alone. Other sums are calibrated on the run's
images and need a decoder of their own (`unimm decoder train`).
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from unimm.checkpoints import files_hash
from unimm.components import Decoder
from unimm.encoders.block_sum import BlockSum, check_blocks
from unimm.encoders.calibrated import Statistics
from unimm.encoders.clip import Clip, pooled_features
from unimm.foundation.folder import Foundation


class ClipLayers(Clip):
    """Sum of the last blocks of the foundation's CLIP, pooled."""

    phrase = "CLIP features summed over layers"
    examples = ({"layers": 3},)

    class Config(Clip.Config, BlockSum):
        """That of ``clip``, and which blocks are summed."""

    def __init__(self, config: Config, model: Any, statistics: Statistics, fingerprint: str) -> None:
        super().__init__(config, model, statistics, fingerprint)
        self.sum = config
        check_blocks(config, -1, len(self.visual.transformer.resblocks), "the foundation's CLIP")
        if config.sum_facts():
            self.statistics, self.shipped = None, False
            self.fingerprint = files_hash((), fingerprint, config.sum_facts())

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return pooled_features(self.visual, images, self.config.grid, self.sum)

    def check_decodable(self) -> None:
        if self.sum.sum_facts() and self.config.decoder is None:
            raise ValueError(
                "the foundation's decoder is for the last block of its CLIP alone: train one for these sums with "
                "`unimm decoder train ARM.yaml --out FOLDER`, then set encoder.decoder=FOLDER"
            )

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        self.check_decodable()
        return super().decoder(foundation, steps)
