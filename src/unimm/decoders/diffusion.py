"""The diffusion decoder: CLIP tokens to VAE latents by flow matching, then the VAE's decoder to pixels.

This is BLIP3-o's second stage in small: there an SDXL UNet, working on SDXL's VAE latents, is conditioned on the 64
CLIP tokens. It is trained once with the CLIP frozen and shared by every CLIP arm.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder, Head
from unimm.decoders.vae import VaeDecoder
from unimm.encoders.statistics import Statistics
from unimm.noise import NoiseSource
from unimm.objectives.flow_matching import FlowMatching


class DiffusionDecoder(Decoder):
    """``clip_statistics`` are given when the incoming tokens are raw: the head was trained on standardised ones."""

    def __init__(
        self,
        head: Head,
        flow: FlowMatching,
        shape: tuple[int, int],
        vae: VaeDecoder,
        clip_statistics: Statistics | None,
    ) -> None:
        super().__init__()
        self.head = head
        self.flow = flow
        self.shape = shape
        self.vae = vae
        self.clip_statistics = clip_statistics
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.clip_statistics.standardise(latents) if self.clip_statistics else latents
        inner = self.flow.sample(self.head, tokens, self.shape, noise.child("decoder"), keys)
        return self.vae.decode(inner, noise, keys)
