"""CLIP tokens in as few channels as the VAE's have: the control that tells a target's size from what it means.

    z = (x - mean) / std,   y = s V^T z,   V [C, c] the c directions of most variance of z over the training images

C are the channels of a token of CLIP and c those of the target; s makes the variance of y 1 on average. What lies
along the other directions is lost: the round trip's squared error a token is the sum of their variances. The decoder is
CLIP's own after the way back, so that the ceiling of an arm says what was lost with them. `unimm.encoders.vae_lift` is
the counterpart: there a target grows in size and keeps its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from unimm.checkpoints import files_hash
from unimm.components import Decoder
from unimm.encoders.calibrated import Statistics, measure
from unimm.encoders.clip import Clip
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.registry import decoders


class PrincipalAxes(Statistics):
    """Statistics of C channels and the map to the c directions of most variance, whose columns have length s."""

    axes: Tensor

    def __init__(self, mean: Float[Tensor, " d"], std: Float[Tensor, " d"], axes: Float[Tensor, "d c"]) -> None:
        super().__init__(mean, std)
        self.register_buffer("axes", axes.float())

    @classmethod
    def of(cls, batches: Callable[[], Iterable[Tensor]], channels: int) -> PrincipalAxes:
        """Three passes over ``batches()`` (each ``[..., C]``), in float64; the largest entry of each direction is above
        0, so that no sign is left to chance."""
        whole = measure(batches)
        total, count = torch.zeros(()), 0
        for batch in batches():
            z = (batch.reshape(-1, batch.shape[-1]).double() - whole.mean) / whole.std
            total, count = total + z.T @ z, count + len(z)
        variances, directions = torch.linalg.eigh(total / count)
        kept = directions[:, -channels:].flip(1)
        kept = kept * kept.gather(0, kept.abs().argmax(0, keepdim=True)).sign()
        return cls(whole.mean, whole.std, kept * (channels / variances[-channels:].sum()).sqrt())

    @classmethod
    def blank(cls, own: int, channels: int) -> PrincipalAxes:
        """Some of the right shape, for ``load_state_dict`` to fill."""
        return cls(torch.zeros(own), torch.ones(own), torch.eye(own, channels))

    def standardise(self, latents: Float[Tensor, "... d"]) -> Float[Tensor, "... c"]:
        """Along the kept directions."""
        return super().standardise(latents) @ self.axes

    def restore(self, latents: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
        """Raw tokens without what lies along the other directions."""
        scale = self.axes.square().sum() / self.axes.shape[1]
        return super().restore(latents @ self.axes.T / scale)


class ClipPca(Clip):
    """The foundation's CLIP tokens along their directions of most variance."""

    phrase = "CLIP features cut to fewer channels"

    class Config(Clip.Config):
        """``channels``: of a token of the target; by default those of a token of the VAE."""

        channels: int = Field(16, ge=1)
        standardise: Literal[True] = True  # directions are those of standardised tokens

    config: Config
    kind = PrincipalAxes

    def __init__(self, config: Config, model: Any, statistics: Statistics, fingerprint: str) -> None:
        super().__init__(config, model, statistics, fingerprint)
        if config.channels > self.channels:
            raise ValueError(
                f"encoder.channels={config.channels} is more than the {self.channels} channels of CLIP's tokens: give "
                "as many or fewer"
            )
        self.of_clip, self.clip_fingerprint = statistics, fingerprint
        self.channels, self.statistics, self.shipped = config.channels, None, False
        self.fingerprint = files_hash((), fingerprint, {"principal": config.channels})

    def measured(self, raw: Callable[[], Iterable[Tensor]]) -> Statistics:
        return PrincipalAxes.of(raw, self.config.channels)

    def blank_statistics(self) -> Statistics:
        return PrincipalAxes.blank(self.of_clip.mean.numel(), self.config.channels)

    def decoder(self, foundation: Foundation, steps: int) -> Decoder:
        assert isinstance(self.statistics, PrincipalAxes), "calibrate the encoder first"
        config = Clip.Config(grid=self.config.grid, standardise=False, decoder=self.config.decoder)
        raw = Clip(config, self, self.of_clip, self.clip_fingerprint)
        return PrincipalDecoder(raw.decoder(foundation, steps), self.statistics)


class PrincipalDecoder(Decoder):
    """A decoder of CLIP's raw tokens after the way back."""

    def __init__(self, inner: Decoder, axes: PrincipalAxes) -> None:
        super().__init__()
        self.inner, self.axes = inner, axes
        self.requires_grad_(False).eval()

    def decode(
        self, latents: Float[Tensor, "b n d"], noise: NoiseSource, keys: Sequence[str]
    ) -> Float[Tensor, "b 3 s s"]:
        return self.inner.decode(self.axes.restore(latents), noise, keys)

    def settings(self) -> dict[str, Any]:
        own, channels = self.axes.axes.shape
        inner = {"name": decoders.name_of(type(self.inner)), "settings": self.inner.settings()}
        return {"own": own, "channels": channels, "inner": inner}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> PrincipalDecoder:
        inner = decoders.get(settings["inner"]["name"]).from_settings(settings["inner"]["settings"])
        return cls(inner, PrincipalAxes.blank(settings["own"], settings["channels"]))
