"""Pixels as the target: small patches of a downsampled image, their enlargement as the decoder, and a metric for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Decoder, Encoder, LatentSpec
from unimm.encoders.vae import patchify, unpatchify
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.words import Words
from unimm.noise import NoiseSource


class Enlarge(Decoder):
    """Patches to an image of the foundation's resolution."""

    def __init__(self, patch: int, resolution: int) -> None:
        super().__init__()
        self.patch, self.resolution = patch, resolution

    def decode(self, latents: Tensor, noise: NoiseSource, keys: Sequence[str]) -> Tensor:
        small = unpatchify(latents, self.patch) / 2 + 0.5
        return F.interpolate(small, size=(self.resolution, self.resolution), mode="nearest").clamp(0, 1)


class Pixels(Encoder):
    """Downsampled pixels in [-1, 1], 16 patches of ``patch`` x ``patch``."""

    phrase = "coarse pixels"

    class Config(ComponentConfig):
        """``patch``: side of a patch after downsampling."""

        patch: int = Field(4, ge=1)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def build(cls, config: Config, foundation: Any) -> Pixels:
        return cls(config)

    def decoder(self, foundation: Any, steps: int) -> Decoder:
        return Enlarge(self.config.patch, foundation.resolution)

    def encode(self, images: Tensor) -> Tensor:
        side = 4 * self.config.patch
        small = F.interpolate(images, size=(side, side), mode="area")
        return patchify(small * 2 - 1, self.config.patch)

    def latent_spec(self) -> LatentSpec:
        return LatentSpec(16, 3 * self.config.patch**2, (4, 4), f"pixels-{self.config.patch}")


class Roughness(Metric):
    """Mean difference of pixels in a row, which enlarged patches add to at their edges."""

    class Config(ComponentConfig):
        """``apart``: how many pixels a pair is from each other."""

        apart: int = Field(1, ge=1)

    needs = frozenset({"images"})
    words: ClassVar = {
        "roughness": Words(
            group="Texture (in levels of 255)",
            label="roughness of rows",
            short="roughness",
            better="lower",
            headline="roughness (levels)",
        )
    }

    def __init__(self, config: Config, foundation: Any) -> None:
        self.config = config

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None
        apart, images = self.config.apart, evidence.images.float()
        items = (images[..., apart:] - images[..., :-apart]).abs().flatten(1).mean(dim=1).tolist()
        return [Score("roughness", sum(items) / len(items), len(items), {"apart": apart}, items)]
