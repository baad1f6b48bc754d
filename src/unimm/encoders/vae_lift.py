"""VAE latents in more channels than they need: the control that tells a target's size from what it means.

    z = sqrt(C / c) Q x,   Q [C, c] with orthonormal columns, fixed for all runs; x = Q^T z / sqrt(C / c)

x are the c standardised channels of a token and z the C of the target, whose variance is 1 on average. Nothing is added
or lost, so that decoder and ceiling are the VAE's own; what grows is the space that noise fills around the data. JiT
(arXiv 2511.13720) shows with such a map that predicting velocities fails there and predicting the data does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.components import Decoder, LatentSpec
from unimm.encoders.calibrated import Statistics
from unimm.encoders.vae import Vae, VaeCore, VaeDecoder
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource

SEED = 29


def lift(own: int, channels: int) -> Float[Tensor, "c d"]:
    """The map from ``own`` channels to ``channels``, of which its transpose, divided by their ratio, is the inverse."""
    normal = torch.randn(channels, own, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    columns: Tensor = torch.linalg.qr(normal).Q
    scaled: Tensor = columns * (channels / own) ** 0.5
    return scaled.float().T.contiguous()


class VaeLift(Vae):
    """Latents of the VAE, mapped to more channels and back by fixed orthonormal columns."""

    phrase = "VAE latents lifted to more channels"

    class Config(Vae.Config):
        """``channels``: of a token of the target; by default those of a token of CLIP."""

        channels: int = Field(128, ge=1)

    config: Config
    lift: Tensor

    def __init__(self, config: Config, core: VaeCore, shipped: Statistics | None, side: int, fingerprint: str) -> None:
        super().__init__(config, core, shipped, side, fingerprint)
        if config.channels < self.channels:
            raise ValueError(
                f"encoder.channels={config.channels} is less than the {self.channels} channels of the VAE's tokens, "
                "which would lose some of them: give as many or more"
            )
        self.register_buffer("lift", lift(self.channels, config.channels), persistent=False)

    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return super().encode(images) @ self.lift

    def latent_spec(self) -> LatentSpec:
        spec = super().latent_spec()
        return replace(spec, channels=self.config.channels, fingerprint=f"{spec.fingerprint}-{self.config.channels}")

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        inner = super().decoder(foundation, steps)
        assert isinstance(inner, VaeDecoder)
        return LiftedDecoder(inner, self.lift)


class LiftedDecoder(Decoder):
    """The VAE's decoder after the way back."""

    lift: Tensor

    def __init__(self, inner: VaeDecoder, lift: Float[Tensor, "c d"]) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("lift", lift)
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        own, channels = self.lift.shape
        return self.inner.decode(latents @ self.lift.T * (own / channels), noise, keys)

    def settings(self) -> dict[str, Any]:
        return {"own": self.lift.shape[0], "channels": self.lift.shape[1], "inner": self.inner.settings()}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> LiftedDecoder:
        return cls(VaeDecoder.from_settings(settings["inner"]), lift(settings["own"], settings["channels"]))
