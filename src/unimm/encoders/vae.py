"""VAE latents as the target: `diffusers` AutoencoderKL, its latent grid patchified to tokens.

The scenes' VAE sees images folded 2 x 2 into channels (pixel unshuffle), which quarters its cost; pretrained ones
use ``unshuffle`` 1. ``patch`` folds the latent grid so that the token count matches the CLIP arm's.
"""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import CalibratedEncoder
from unimm.encoders.sides import check_side
from unimm.encoders.statistics import Statistics


class VaeCore(nn.Module):
    """AutoencoderKL with the pixel unshuffle around it: images in [0, 1] to latents ``[B, C, h, w]`` and back."""

    def __init__(self, model: nn.Module, unshuffle: int) -> None:
        super().__init__()
        self.model = model
        self.unshuffle = unshuffle

    @property
    def unit(self) -> int:
        """Pixels a side of one latent position."""
        halvings = len(self.model.config.block_out_channels) - 1  # type: ignore[union-attr,arg-type]
        return int(self.unshuffle * 2**halvings)

    @property
    def channels(self) -> int:
        """Channels of a latent position."""
        return int(self.model.config.latent_channels)  # type: ignore[union-attr,arg-type]

    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        """The posterior's mean: deterministic targets, as latent caches hold them."""
        return self.model.encode(F.pixel_unshuffle(images * 2 - 1, self.unshuffle)).latent_dist.mean  # type: ignore[no-any-return,operator]

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 s s"]:
        """Images in [0, 1]."""
        decoded = self.model.decode(latents).sample  # type: ignore[operator]
        return ((F.pixel_shuffle(decoded, self.unshuffle) + 1) / 2).clamp(0, 1)


def patchify(latents: Float[Tensor, "b c h w"], patch: int) -> Float[Tensor, "b n d"]:
    """Fold ``patch`` x ``patch`` neighbours into channels and flatten the grid."""
    return F.pixel_unshuffle(latents, patch).flatten(2).transpose(1, 2)


def unpatchify(tokens: Float[Tensor, "b n d"], patch: int) -> Float[Tensor, "b c h w"]:
    """The inverse of `patchify` for a square grid."""
    side = int(tokens.shape[1] ** 0.5)
    return F.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, side, side), patch)


class Vae(CalibratedEncoder):
    """Patchified latents of an AutoencoderKL; twice the side gives four times the tokens."""

    class Config(ComponentConfig):
        """``patch``: side of the latent patch that makes one token."""

        patch: int = Field(2, ge=1)
        standardise: bool = True

    def __init__(self, config: Config, core: VaeCore, shipped: Statistics | None, side: int, fingerprint: str) -> None:
        unit = core.unit * config.patch
        check_side(side, unit, "the foundation's VAE", "source.resolution")
        super().__init__((side // unit, side // unit), core.channels * config.patch**2, fingerprint, shipped)
        self.config = config
        self.core = core
        self.requires_grad_(False).eval()

    @classmethod
    def build(cls, config: Config, foundation: Any) -> Vae:
        return cast("Vae", foundation.vae(config))

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        return cast("Decoder", foundation.vae_decoder(self.statistics if self.config.standardise else None))

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return patchify(self.core.encode(images), self.config.patch)
