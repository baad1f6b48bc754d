"""Two encoders side by side as one target: their channels concatenated, token by token.

    z = [ (x_1 - mean_1) / std_1 , (x_2 - mean_2) / std_2 ]

Each keeps its own settings, statistics and cache of statistics, as in an arm of its own. One of the two draws the
images, from its own channels alone; the other's are what the head has to predict besides, as in models that predict
semantic features and a VAE's latents together (ReDi, arXiv 2504.16064).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.checkpoints import files_hash
from unimm.component_config import ComponentConfig
from unimm.components import Decoder, Encoder, LatentSpec
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import decoders, encoders
from unimm.schema import Choice, EncoderChoice


class SideBySide(Encoder):
    """Channels of two encoders concatenated, each with its own statistics; one of them draws the images."""

    phrase = "channels of two encoders side by side"
    examples = (
        {
            "first": {
                "name": "autoencoder_kl",
                "pretrained": "black-forest-labs/FLUX.1-dev",
                "subfolder": "vae",
                "patch": 2,
                "resolution": 256,
            },
            "second": {"name": "transformers_vision", "pretrained": "google/siglip2-base-patch16-256", "grid": None},
        },
    )

    class Config(ComponentConfig):
        """``first``, ``second``: encoders with their settings; ``decoded``: whose channels become the image."""

        first: EncoderChoice
        second: EncoderChoice
        decoded: Literal["first", "second"] = "first"

        @property
        def parts(self) -> tuple[Choice, Choice]:
            """Both choices, in order."""
            return self.first, self.second

    def __init__(self, config: Config, first: Encoder, second: Encoder) -> None:
        super().__init__()
        self.config, self.first, self.second = config, first, second
        one, other = (part.latent_spec().grid for part in (first, second))
        if one != other:
            raise ValueError(
                f"encoder=side_by_side needs two grids that are alike, and {config.first.name} has {one[0]} x {one[1]} "
                f"tokens, {config.second.name} {other[0]} x {other[1]}: change "
                "encoder.first.grid, encoder.second.patch or whatever else decides them"
            )

    @classmethod
    def build(cls, config: Config, foundation: Foundation) -> SideBySide:
        built = []
        for choice in config.parts:
            part: Any = encoders.get(choice.name)
            built.append(part.build(choice.config, foundation))
        return cls(config, *built)

    def encode(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n d"]:
        return torch.cat([self.first.encode(images), self.second.encode(images)], dim=-1)

    def latent_spec(self) -> LatentSpec:
        one, other = self.first.latent_spec(), self.second.latent_spec()
        both = files_hash((), one.fingerprint, other.fingerprint)
        return LatentSpec(one.tokens, one.channels + other.channels, one.grid, both)

    @property
    def _decoded(self) -> Encoder:
        return self.first if self.config.decoded == "first" else self.second

    def check_decodable(self) -> None:
        self._decoded.check_decodable()

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        first, own = self.first.latent_spec().channels, self._decoded.latent_spec().channels
        start = 0 if self.config.decoded == "first" else first
        inner = self._decoded.decoder(foundation, steps)
        return PartDecoder(start, own, inner, decoders.name_of(type(inner)))


class PartDecoder(Decoder):
    """Images from ``channels`` of the latents, beginning with number ``start``, by another decoder."""

    def __init__(self, start: int, channels: int, inner: Decoder, inner_name: str) -> None:
        super().__init__()
        self.start, self.channels, self.inner, self._inner_name = start, channels, inner, inner_name
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        return self.inner.decode(latents[..., self.start : self.start + self.channels], noise, keys)

    def settings(self) -> dict[str, Any]:
        inner = {"name": self._inner_name, "settings": self.inner.settings()}
        return {"start": self.start, "channels": self.channels, "inner": inner}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> PartDecoder:
        name = settings["inner"]["name"]
        inner = decoders.get(name).from_settings(settings["inner"]["settings"])
        return cls(settings["start"], settings["channels"], inner, name)
