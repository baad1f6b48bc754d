"""Latents of a source's images: read from a cache on disk, or encoded at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.components import Encoder
from unimm.data.examples import cached_latents
from unimm.data.source import IndexedSource, Source

CACHE_BYTES = 1 << 31


class SourceLatents(ABC):
    """Two halves of getting latents: ``load`` what a sample needs, on any thread, then ``finish`` a batch."""

    kind: ClassVar[str]

    @abstractmethod
    def load(self, index: int) -> Tensor:
        """The value of a visit; raises `Unusable`."""

    @abstractmethod
    def finish(self, values: Sequence[Tensor]) -> Float[Tensor, "b n d"]:
        """Latents of the values of a batch of visits."""


class Encoded(SourceLatents):
    """Each image is decoded and encoded when a step visits it."""

    kind = "encode"

    def __init__(self, encoder: Encoder, source: Source, device: torch.device) -> None:
        self.encoder, self.source, self.device = encoder.to(device), source, device

    def load(self, index: int) -> Tensor:
        assert isinstance(self.source, IndexedSource), "other sources bring the image along"
        return self.source.image(index)

    def finish(self, values: Sequence[Tensor]) -> Float[Tensor, "b n d"]:
        # In float32 as the cache has them, whatever the precision of the training step around this.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self.encoder.encode(torch.stack(list(values)).to(self.device).float() / 255)


class Cached(SourceLatents):
    """All images were encoded once; rows of NaN stand for those that cannot be used."""

    kind = "cache"

    def __init__(self, latents: Float[Tensor, "m n d"], source: IndexedSource) -> None:
        self.latents, self.source = latents, source
        self.missing = frozenset(latents[:, 0, 0].isnan().nonzero().flatten().tolist())

    def load(self, index: int) -> Tensor:
        if index not in self.missing:
            return self.latents[index]
        self.source.image(index)
        raise ValueError(
            f"{self.source.key(index)} could not be read when latents were cached, but can be now; "
            "delete the latent cache to have it made again"
        )

    def finish(self, values: Sequence[Tensor]) -> Float[Tensor, "b n d"]:
        return torch.stack(list(values))


def latents_of(encoder: Encoder, source: Source, visits: int, device: torch.device) -> SourceLatents:
    """As ``source.latents`` says; ``auto`` caches what is small and will be visited at least once through.

    ``visits``: how many images the run looks at in all.
    """
    if not isinstance(source, IndexedSource):
        return Encoded(encoder, source, device)
    spec = encoder.latent_spec()
    small = len(source) * spec.tokens * spec.channels * 4 <= CACHE_BYTES and visits >= len(source)
    if source.latents == "cache" or (source.latents == "auto" and small):
        return Cached(cached_latents(encoder, source, device), source)
    return Encoded(encoder, source, device)
