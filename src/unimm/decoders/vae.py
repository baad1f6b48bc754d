"""The VAE's own decoder: deterministic."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from unimm.components import Decoder
from unimm.encoders.statistics import Statistics
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
