"""A pretrained autoencoder's own decoder, and the trivial one of pixels: both deterministic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder
from unimm.encoders.autoencoder import Core
from unimm.encoders.autoencoder_kinds import CORES
from unimm.encoders.sides import resized
from unimm.encoders.statistics import Statistics, blank
from unimm.encoders.vae import unpatchify
from unimm.noise import NoiseSource


class AutoencoderDecoder(Decoder):
    """Folded latents to images of side ``resolution``; ``statistics`` None when the latents were not standardised."""

    def __init__(self, core: Core, statistics: Statistics | None, patch: int, resolution: int) -> None:
        super().__init__()
        self.core, self.statistics, self.patch, self.resolution = core, statistics, patch, resolution
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return resized(self.core.decode(unpatchify(tokens, self.patch)), self.resolution)

    def settings(self) -> dict[str, Any]:
        return {
            "library_class": self.core.library_class,
            "config": json.loads(self.core.model.to_json_string()),
            "dtype": str(self.core.model.dtype).removeprefix("torch."),
            "channels": None if self.statistics is None else self.statistics.mean.numel(),
            "patch": self.patch,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> AutoencoderDecoder:
        import diffusers
        import torch

        core_class, channels = CORES[settings["library_class"]], settings["channels"]
        model = getattr(diffusers, core_class.library_class).from_config(settings["config"])
        core = core_class(model.to(getattr(torch, settings["dtype"])))
        statistics = None if channels is None else blank(channels)
        return cls(core, statistics, settings["patch"], settings["resolution"])


class PixelDecoder(Decoder):
    """Patches of pixels to images of side ``resolution``."""

    def __init__(self, patch: int, statistics: Statistics | None, resolution: int) -> None:
        super().__init__()
        self.patch, self.statistics, self.resolution = patch, statistics, resolution
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return resized(((unpatchify(tokens, self.patch) + 1) / 2).clamp(0, 1), self.resolution)

    def settings(self) -> dict[str, Any]:
        return {"patch": self.patch, "standardised": self.statistics is not None, "resolution": self.resolution}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> PixelDecoder:
        statistics = blank(3 * settings["patch"] ** 2) if settings["standardised"] else None
        return cls(settings["patch"], statistics, settings["resolution"])
