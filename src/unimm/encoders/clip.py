"""CLIP features as the target: an open_clip image tower whose patch grid is pooled to a fixed number of tokens.

BLIP3-o (arXiv 2505.09568) pools EVA-CLIP's 32 x 32 grid to 64 tokens of 1792 channels, whatever the image. Here the
patch tokens of the last block are average-pooled to ``grid`` x ``grid``. ``standardise`` divides out the exact
per-channel statistics; the paper's own choice is raw features (``settings=published``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.block_sum import BlockSum
from unimm.encoders.calibrated import CalibratedEncoder, Statistics, shipped
from unimm.encoders.images import resized
from unimm.encoders.token_decoder import DiffusionDecoder, TrainedDecoder
from unimm.foundation.folder import Foundation

CLIP_CONTEXT = 64
LAST = BlockSum()


class Clip(CalibratedEncoder):
    """Pooled patch features of a CLIP image tower."""

    phrase = "CLIP features"

    class Config(ComponentConfig):
        """``grid``: side of the pooled token grid (4 gives 16 tokens); ``standardise``: unit variance in every channel.

        ``decoder``: null for the foundation's own, noised for the one of its own that was trained on noised tokens, or
        the folder of a decoder of `unimm decoder train`.
        """

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
    def build(cls, config: Config, foundation: Foundation) -> Clip:
        """The foundation's CLIP; its statistics were measured for one grid, which the configuration must name."""
        grid = foundation.card["grid"]
        if config.grid != grid:
            raise ValueError(
                f"encoder.grid={config.grid}, but this foundation's statistics and decoder are for grid "
                f"{grid}; build a foundation with another grid to change it"
            )
        return cls(
            config, load_clip(foundation.path("clip")), shipped(foundation, "clip"), foundation.fingerprint("clip")
        )

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        part = "decoder" if self.config.decoder is None else f"decoder_{self.config.decoder}"
        if part in foundation.card["costs"]:
            return DiffusionDecoder.of(foundation, self.config.standardise, steps, part)
        assert self.config.decoder is not None, "every foundation has a decoder"
        return TrainedDecoder.load(self.config.decoder, self, foundation, steps)

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        """Raw pooled features, before statistics."""
        return pooled_features(self.visual, images, self.config.grid)


def pooled_features(
    visual: Any, images: Float[Tensor, "b 3 s s"], grid: int, blocks: BlockSum = LAST
) -> Float[Tensor, "b n d"]:
    """Patch tokens of the last block, or of a sum of ``blocks``, average-pooled to ``grid`` x ``grid``.

    Images are resized to the tower's own size first, so the number of tokens never depends on the resolution.
    """
    images = resized(images, int(visual.image_size[0]))
    output = visual.forward_intermediates(images * 2 - 1, indices=blocks.blocks(-1), intermediates_only=True)
    pooled: Tensor = (
        F.adaptive_avg_pool2d(blocks.combined(output["image_intermediates"]), grid).flatten(2).transpose(1, 2)
    )
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


def clip_tokens(tokenizer: PreTrainedTokenizerFast, captions: list[str], context: int = CLIP_CONTEXT) -> Tensor:
    """Caption ids ``[B, context]``: right-padded, each ending in the end-of-text token, cut where too long."""
    end = tokenizer.eos_token_id
    rows = [[*ids[: context - 1], end] for ids in tokenizer(captions, add_special_tokens=False)["input_ids"]]
    return torch.tensor([[*row, *[tokenizer.pad_token_id] * (context - len(row))] for row in rows])
