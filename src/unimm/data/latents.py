"""Latents of a source's images, read from a cache on disk or encoded at every step, and a run's visits to them.

Visits follow the run's steps and are read ahead on other threads while the model computes.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.components import Encoder
from unimm.data.cache import KeptLatents, cached_latents
from unimm.data.content import Content, stamp_of
from unimm.data.source import THREADS, IndexedSource, Source, Visit
from unimm.seam_checks import check_finite, check_latents

CACHE_BYTES = 1 << 31


class SourceLatents(ABC):
    """Two halves of getting latents: ``load`` what a sample needs, on any thread, then ``finish`` a batch.

    ``content`` is what the source's files held when this was made.
    """

    kind: ClassVar[str]
    content: Content

    @abstractmethod
    def load(self, index: int) -> Tensor:
        """The value of a visit; raises `Unusable`."""

    @abstractmethod
    def finish(self, values: Sequence[Tensor], keys: Sequence[str]) -> Float[Tensor, "b n d"]:
        """Latents of the values of a batch of visits; ``keys`` are the samples' names, for messages."""


class Encoded(SourceLatents):
    """Each image is decoded and encoded when a step visits it."""

    kind = "encode"

    def __init__(self, encoder: Encoder, source: Source, device: torch.device) -> None:
        self.encoder, self.source, self.device = encoder.to(device), source, device
        self.spec, self.content = encoder.latent_spec(), Content(stamp_of(source))

    def load(self, index: int) -> Tensor:
        assert isinstance(self.source, IndexedSource), "other sources bring the image along"
        return self.source.image(index)

    def finish(self, values: Sequence[Tensor], keys: Sequence[str]) -> Float[Tensor, "b n d"]:
        # In float32 as the cache has them, whatever the precision of the training step around this.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            latents = self.encoder.encode(torch.stack(list(values)).to(self.device).float() / 255)
        check_latents(self.encoder, self.spec, latents, len(values))
        check_finite(self.encoder, latents, keys.__getitem__)
        return latents


class Cached(SourceLatents):
    """All images were encoded once; rows of NaN stand for those that cannot be used."""

    kind = "cache"

    def __init__(self, kept: KeptLatents, source: IndexedSource) -> None:
        self.latents, self.content, self.source = kept.values, kept.content, source
        self.missing = frozenset(self.latents[:, 0, 0].isnan().nonzero().flatten().tolist())

    def load(self, index: int) -> Tensor:
        if index not in self.missing:
            return self.latents[index]
        self.source.image(index)
        raise ValueError(
            f"{self.source.key(index)} could not be read when latents were cached, but can be now; "
            "delete the latent cache to have it made again"
        )

    def finish(self, values: Sequence[Tensor], keys: Sequence[str]) -> Float[Tensor, "b n d"]:
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


class Visits:
    """Visits of position ranges; what they return depends on the range alone, whatever was read ahead."""

    def __init__(self, source: Source, seed: int, latents: SourceLatents) -> None:
        self.source, self.seed, self.latents = source, seed, latents
        self.waited = 0.0
        self._ahead: dict[tuple[int, int], Future[list[Visit]]] = {}
        # Cached latents are in memory already: threads would only cost time.
        decodes = isinstance(latents, Encoded)
        self._reader = ThreadPoolExecutor(1, "read-ahead") if decodes else None
        self._pool = ThreadPoolExecutor(THREADS, "decode") if decodes else None

    def between(self, begin: int, end: int, ahead: Sequence[tuple[int, int]] = ()) -> list[Visit]:
        """Visits of positions ``begin`` to ``end``; ``ahead`` are the ranges that the next steps will want."""
        started = time.monotonic()
        if self._reader is None:
            visits = self._read(begin, end)
        else:
            self._schedule([(begin, end), *ahead])
            visits = self._ahead.pop((begin, end)).result()
        self.waited += time.monotonic() - started
        return visits

    def _schedule(self, ranges: list[tuple[int, int]]) -> None:
        assert self._reader is not None
        for stale in set(self._ahead) - set(ranges):
            self._ahead.pop(stale).cancel()
        for wanted in ranges:
            if wanted not in self._ahead:
                self._ahead[wanted] = self._reader.submit(self._read, *wanted)

    def _read(self, begin: int, end: int) -> list[Visit]:
        return self.source.visits(self.seed, begin, end, self.latents.load, self._pool)

    def finish(self, visits: list[Visit]) -> Tensor:
        """Latents ``[b, n, d]`` of visits."""
        return self.latents.finish([visit.value for visit in visits], [visit.key for visit in visits])
