"""The visits of a run, step by step, read ahead on other threads while the model computes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from unimm.data.latents import Encoded, SourceLatents
from unimm.data.source import THREADS, Source, Visit


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
        return self.latents.finish([visit.value for visit in visits])
