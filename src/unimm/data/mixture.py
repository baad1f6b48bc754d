"""A weighted mixture of sources: in every 1,000 positions each part has its exact share, in an order of its own.

A position's part and the sample within it are functions of (seed, position): a block of positions is a permutation of
the parts' quotas, and each part is walked through in freshly permuted epochs of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import PositiveFloat, field_validator
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.data.captions import Texts
from unimm.data.order import permuted
from unimm.data.source import Context, IndexedSource, Latents, Read, SourceConfig
from unimm.registry import sources
from unimm.schema import SourceChoice

BLOCK = 1000


class Part(ComponentConfig):
    """A source and its weight against the other parts'."""

    weight: PositiveFloat
    source: SourceChoice


class Mixture(IndexedSource):
    """Several sources, each with its share of the samples."""

    class Config(SourceConfig):
        """``parts``: ``{weight, source: {name, ...}}`` each; ``resolution`` holds for all of them.

        ``latents``: those of all: cache on disk, encode at every step, or decide by the size (docs/data.md).
        """

        parts: tuple[Part, ...]
        latents: Latents = "auto"

        @field_validator("parts")
        @classmethod
        def _several(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
            if len(parts) < 2:
                raise ValueError("a mixture has two parts or more; for one, name its source itself")
            if any(isinstance(part.source.config, cls) for part in parts):
                raise ValueError("a mixture is no part of a mixture: multiply the weights and list its parts instead")
            if any(getattr(part.source.config, "resolution", None) is not None for part in parts):
                raise ValueError("all parts have the resolution of the mixture; set source.resolution instead")
            return parts

    def __init__(self, members: Sequence[IndexedSource], weights: Sequence[float], latents: Latents = "auto") -> None:
        self.members, self.latents = list(members), latents
        self.quotas = quotas(weights)
        self._begins = np.cumsum([0, *(len(member) for member in members)])
        self._kept: tuple[tuple[int, int], NDArray[np.int64]] | None = None
        offers = {member.understanding for member in members}
        self.understanding = next(offer for offer in ("questions", "descriptions", "scenes") if offer in offers)

    @classmethod
    def shows_scenes(cls, config: Config) -> bool:
        return all(sources.get(part.source.name).shows_scenes(part.source.config) for part in config.parts)

    @classmethod
    def build(cls, config: Config, context: Context) -> Mixture:
        members, context = [], context._replace(resolution=config.side(context))
        for number, part in enumerate(config.parts):
            member = sources.get(part.source.name).build(part.source.config, context)
            if not isinstance(member, IndexedSource):
                raise ValueError(
                    f"source.parts.{number}: {part.source.name} finds no sample by its number, which a mixture needs; "
                    "copy its shards to a local disk and use source=shards"
                )
            if getattr(part.source.config, "latents", "auto") != "auto":
                raise ValueError(f"source.parts.{number}: latents are the whole mixture's; set source.latents instead")
            members.append(member)
        return cls(members, [part.weight for part in config.parts], config.latents)

    @property
    def name(self) -> str:
        shares = zip(self.quotas.tolist(), self.members, strict=True)
        return " + ".join(f"{quota}/{BLOCK} {member.name}" for quota, member in shares)

    @property
    def resolution(self) -> int:
        return self.members[0].resolution

    def __len__(self) -> int:
        return int(self._begins[-1])

    def order(self, seed: int, begin: int, end: int) -> NDArray[np.int64]:
        indices = np.empty(end - begin, dtype=np.int64)
        for block in range(begin // BLOCK, -(-end // BLOCK)):
            low, high = max(begin, block * BLOCK), min(end, (block + 1) * BLOCK)
            indices[low - begin : high - begin] = self._block(seed, block)[low % BLOCK : (high - 1) % BLOCK + 1]
        return indices

    def _block(self, seed: int, block: int) -> NDArray[np.int64]:
        """Indices of the block's positions. The last one is kept: the steps of training cut it into many pieces."""
        if self._kept is None or self._kept[0] != (seed, block):
            self._kept = (seed, block), self._drawn(seed, block)
        return self._kept[1]

    def _drawn(self, seed: int, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([seed, block, 43])
        parts = rng.permutation(np.repeat(np.arange(len(self.members)), self.quotas))
        indices = np.empty(BLOCK, dtype=np.int64)
        for number, member in enumerate(self.members):
            quota = int(self.quotas[number])
            turns = np.arange(block * quota, (block + 1) * quota)
            own_seed = int(np.random.default_rng([seed, number, 47]).integers(2**62))
            indices[parts == number] = self._begins[number] + permuted(own_seed, turns, len(member))
        return indices

    def part(self, index: int) -> int:
        return int(np.searchsorted(self._begins, index, side="right")) - 1

    def _own(self, index: int) -> tuple[IndexedSource, int]:
        part = self.part(index)
        return self.members[part], index - int(self._begins[part])

    def other(self, seed: int, position: int, attempt: int, index: int) -> int:
        """A stand-in from the same part, so that shares hold."""
        member, own = self._own(index)
        return index - own + member.other(seed, position, attempt, own)

    def key(self, index: int) -> str:
        member, own = self._own(index)
        return f"{self.part(index)}:{member.key(own)}"

    def image(self, index: int) -> UInt8[Tensor, "3 s s"]:
        member, own = self._own(index)
        return member.image(own)

    def stamp(self, again: bool = False) -> str:
        stamps = [member.stamp(again) for member in self.members]
        return " ".join(stamp or "-" for stamp in stamps) if any(stamps) else ""

    def digest(self, index: int) -> bytes:
        member, own = self._own(index)
        return member.digest(own)

    def read(self, index: int) -> Read:
        member, own = self._own(index)
        return member.read(own)

    def texts(self, index: int) -> Texts:
        member, own = self._own(index)
        return member.texts(own)

    def repeated_captions(self) -> Iterator[str]:
        """Those of its members."""
        return chain.from_iterable(member.repeated_captions() for member in self.members)

    def parts(self) -> list[dict[str, Any]]:
        return [
            {**part, "share": quota / BLOCK}
            for quota, member in zip(self.quotas.tolist(), self.members, strict=True)
            for part in member.parts()
        ]


def quotas(weights: Sequence[float]) -> NDArray[np.int64]:
    """How many of `BLOCK` positions each weight gets: rounded by largest remainder, so that they add up.

    Raises:
        ValueError: a weight is too small against the others to get a position.
    """
    exact = np.array(weights, dtype=np.float64) / sum(weights) * BLOCK
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: BLOCK - whole.sum()]] += 1
    if not whole.all():
        raise ValueError(
            f"source.parts.{int(whole.argmin())}: its weight is under half a thousandth of all weights together; "
            "raise it or leave the part out"
        )
    return whole
