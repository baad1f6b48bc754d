"""The diffusion decoder: CLIP tokens to VAE latents by flow matching, then the VAE's decoder to pixels.

This is BLIP3-o's second stage in small: there an SDXL UNet, working on SDXL's VAE latents, is conditioned on the 64
CLIP tokens. It is trained once with the CLIP frozen and shared by every CLIP arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder
from unimm.decoders.vae import VaeDecoder
from unimm.encoders.sides import resized
from unimm.encoders.statistics import Statistics, blank
from unimm.heads.dit import DiffusionTransformer
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching


class DiffusionDecoder(Decoder):
    """Tokens to images of side ``resolution`` (None: as they are drawn).

    ``clip_statistics`` are given when the incoming tokens are raw: the head was trained on standardised ones.
    """

    def __init__(
        self,
        head: DiffusionTransformer,
        flow: FlowMatching,
        shape: tuple[int, int],
        vae: VaeDecoder,
        clip_statistics: Statistics | None,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.flow = flow
        self.shape = shape
        self.vae = vae
        self.clip_statistics = clip_statistics
        self.resolution = resolution
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.clip_statistics.standardise(latents) if self.clip_statistics else latents
        inner = self.flow.sample(self.head, tokens, self.shape, noise.child("decoder"), keys)
        images = self.vae.decode(inner, noise, keys)
        return images if self.resolution is None else resized(images, self.resolution)

    def settings(self) -> dict[str, Any]:
        head = self.head
        return {
            "head": head.config.model_dump(),
            "channels": head.channels,
            "grid": list(head.grid),
            "condition_channels": head.condition_channels,
            "flow": self.flow.config.model_dump(),
            "vae": self.vae.settings(),
            "takes_raw_tokens": self.clip_statistics is not None,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> DiffusionDecoder:
        width, grid = settings["condition_channels"], tuple(settings["grid"])
        config = DiffusionTransformer.Config(**settings["head"])
        head = DiffusionTransformer(config, settings["channels"], grid, width, aligned_channels=width)
        flow = FlowMatching(FlowMatching.Config(**settings["flow"]))
        shape = (head.grid[0] * head.grid[1], head.channels)
        raw = blank(width) if settings["takes_raw_tokens"] else None
        # Models that were exported before there were resolutions name none.
        return cls(head, flow, shape, VaeDecoder.from_settings(settings["vae"]), raw, settings.get("resolution"))
