"""VAE latents as the target: `diffusers` AutoencoderKL, its latent grid patchified to tokens, with its own decoder.

The scenes' VAE sees images folded 2 x 2 into channels (pixel unshuffle), which quarters its cost; pretrained ones
use ``unshuffle`` 1. ``patch`` folds the latent grid so that the token count matches the CLIP arm's. The decoder is
deterministic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.component_config import ComponentConfig
from unimm.components import Decoder
from unimm.encoders.calibrated import CalibratedEncoder, Statistics, blank, shipped
from unimm.encoders.images import check_side
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource


class VaeCore(nn.Module):
    """AutoencoderKL with the pixel unshuffle around it: images in [0, 1] to latents ``[B, C, h, w]`` and back."""

    def __init__(self, model: nn.Module, unshuffle: int) -> None:
        super().__init__()
        self.model = model
        self.unshuffle = unshuffle

    @classmethod
    def of(cls, foundation: Foundation) -> VaeCore:
        """The foundation's own, frozen; the same module for its encoder and for every decoder that ends in it."""
        return foundation.once("vae", lambda: cls._load(foundation))

    @classmethod
    def _load(cls, foundation: Foundation) -> VaeCore:
        from diffusers import AutoencoderKL

        model: Any = AutoencoderKL(**foundation.settings("vae/config.json"))
        model.load_state_dict(foundation.weights("vae/diffusion_pytorch_model.safetensors"))
        core = cls(model, foundation.card["unshuffle"]).eval().requires_grad_(False)
        return core.to(memory_format=torch.channels_last)

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

    phrase = "VAE latents"

    class Config(ComponentConfig):
        """``patch``: side of the latent patch of one token; ``standardise``: unit variance in every channel."""

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
    def build(cls, config: Config, foundation: Foundation) -> Vae:
        """The foundation's VAE; its statistics ship for the side it was trained at, and are unknown for others."""
        patch = foundation.card["patch"]
        if config.patch != patch:
            raise ValueError(f"encoder.patch={config.patch}, but this foundation's statistics are for patch {patch}")
        known = shipped(foundation, "vae") if foundation.resolution == foundation.trained_at else None
        return cls(config, VaeCore.of(foundation), known, foundation.resolution, foundation.fingerprint("vae"))

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        return VaeDecoder.of(foundation, self.statistics if self.config.standardise else None)

    def features(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return patchify(self.core.encode(images), self.config.patch)


class VaeDecoder(Decoder):
    """Patchified latents to images; ``statistics`` None when the latents were not standardised."""

    def __init__(self, core: VaeCore, statistics: Statistics | None, patch: int) -> None:
        super().__init__()
        self.core = core
        self.statistics = statistics
        self.patch = patch
        self.requires_grad_(False).eval()

    @classmethod
    def of(cls, foundation: Foundation, statistics: Statistics | None) -> VaeDecoder:
        """The foundation's, for latents that were standardised by ``statistics``, or for raw ones."""
        return cls(VaeCore.of(foundation), statistics, foundation.card["patch"])

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return self.core.decode(unpatchify(tokens, self.patch))

    def settings(self) -> dict[str, Any]:
        return {
            "vae": json.loads(self.core.model.to_json_string()),  # type: ignore[operator]
            "unshuffle": self.core.unshuffle,
            "patch": self.patch,
            "channels": None if self.statistics is None else self.statistics.mean.numel(),
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> VaeDecoder:
        from diffusers import AutoencoderKL

        core = VaeCore(AutoencoderKL.from_config(settings["vae"]), settings["unshuffle"])
        channels = settings["channels"]
        statistics = None if channels is None else blank(channels)
        return cls(core.to(memory_format=torch.channels_last), statistics, settings["patch"])
