"""The VAE's own decoder: deterministic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder
from unimm.encoders.statistics import Statistics, blank
from unimm.encoders.vae import VaeCore, unpatchify
from unimm.noise import NoiseSource


class VaeDecoder(Decoder):
    """Patchified latents to images; ``statistics`` None when the latents were not standardised."""

    def __init__(self, core: VaeCore, statistics: Statistics | None, patch: int) -> None:
        super().__init__()
        self.core = core
        self.statistics = statistics
        self.patch = patch
        self.requires_grad_(False).eval()

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
