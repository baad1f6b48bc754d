"""The decoder of an AutoencoderRAE for the tokens of its own tower, which another library class computed.

An RAE (arXiv 2510.11690) is a frozen tower and a trained decoder. Arms that read the same tower elsewhere, as sums of
blocks or beside another encoder's configuration, can draw by that decoder too, where the tokens are the ones that it
was trained on: the last block of the same weights, every patch, at the same side. RAE normalises each token over its
channels, without gain or bias; tokens that were not normalised yet (``encoder.normed``) are normalised here.

Whether it fits is not asked of names but of numbers: one picture goes through both, and the images have to agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unimm.components import Decoder
from unimm.encoders.block_sum import normed
from unimm.encoders.calibrated import CalibratedEncoder, Statistics, blank
from unimm.encoders.images import check_drawn, resized
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import encoders

# Root mean square over images in [0, 1], by the tower's type: kernels and the towers' epsilons differ.
TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}


class RaeDecoder(Decoder):
    """Tokens to images of side ``resolution``; ``statistics`` None when the tokens were not standardised."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, statistics: Statistics | None, is_normed: bool, resolution: int) -> None:
        super().__init__()
        self.inner: nn.Module = model.decoder
        self.register_buffer("mean", model.encoder_mean.float())
        self.register_buffer("std", model.encoder_std.float())
        self.config = json.loads(model.to_json_string())
        self.statistics, self.is_normed, self.resolution = statistics, is_normed, resolution
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, pretrained: str, encoder: CalibratedEncoder, foundation: Foundation) -> RaeDecoder:
        """The decoder of the AutoencoderRAE in a folder or on the hub, for the tokens of ``encoder``.

        Raises:
            ValueError: it was trained on other tokens, or draws smaller images than the run's.
        """
        rae_class: Any = encoders.get("autoencoder_rae")
        rae = rae_class.build(rae_class.Config(pretrained=pretrained, standardise=False), foundation)
        check_drawn(rae.drawn, foundation.resolution, pretrained, f"source.resolution={rae.drawn}")
        statistics = encoder.statistics if encoder.config.standardise else None
        is_normed = bool(getattr(encoder.config, "normed", False))
        decoder = cls(rae.core.model, statistics, is_normed, foundation.resolution)
        decoder._check(pretrained, rae.core, encoder)
        return decoder

    def _check(self, pretrained: str, core: Any, encoder: CalibratedEncoder) -> None:
        """ValueError where one picture does not come out as the RAE itself draws it."""
        side = core.taken(0)
        picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = core.decode(core.encode(picture))
            tokens = encoder.features(picture)
            wanted = (int(core.model.num_patches), int(core.model.config.encoder_hidden_size))
            found = self._drawn(tokens) if tokens.shape[1:] == wanted else None
        off = 0.0 if found is None else float((found - expected).square().mean().sqrt())
        if found is None:
            why = f"it takes {wanted[0]} tokens of {wanted[1]} channels, and the encoder makes {list(tokens.shape[1:])}"
        elif off > TOLERANCE[encoder.config.dtype]:
            why = f"of the encoder's tokens it draws other images than of its own (off by {off:.2g} of [0, 1])"
        else:
            return
        raise ValueError(
            f"the decoder of {pretrained} does not fit these tokens: {why}. It fits the last block alone of its own "
            f"tower, unpooled: encoder.layer=-1 encoder.layers=1 encoder.grid=null encoder.resolution={side}, with the "
            "weights that it was trained on; for other tokens train one with `unimm decoder train`"
        )

    def _drawn(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3 r r"]:
        """Images in [0, 1] of raw tokens."""
        if not self.is_normed:
            tokens = normed(tokens.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)
        inner = cast("Any", self.inner)
        logits = inner(tokens.to(inner.decoder_embed.weight.dtype)).logits
        drawn: Tensor = inner.unpatchify(logits).float() * self.std + self.mean
        return drawn.clamp(0, 1)

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        tokens = self.statistics.restore(latents) if self.statistics else latents
        return resized(self._drawn(tokens), self.resolution)

    def settings(self) -> dict[str, Any]:
        return {
            "config": self.config,
            "channels": None if self.statistics is None else self.statistics.mean.numel(),
            "normed": self.is_normed,
            "resolution": self.resolution,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> RaeDecoder:
        from diffusers import AutoencoderRAE

        channels = settings["channels"]
        statistics = None if channels is None else blank(channels)
        model = AutoencoderRAE.from_config(settings["config"])
        return cls(model, statistics, settings["normed"], settings["resolution"])
