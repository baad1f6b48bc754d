"""Where training images and captions come from: the seam that every data source implements.

A source is asked for positions of an endless stream. An `IndexedSource` finds sample ``index`` directly, so that its
order is a pure function of (seed, position) and a resumed run goes on with exactly the next sample. A sample that
training cannot use is replaced by one that a fixed rule on the position names, and every such case is reported.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from unimm.component_config import ComponentConfig
from unimm.data.captions import Texts
from unimm.data.content import joined
from unimm.data.order import permuted
from unimm.scenes.world import World

ATTEMPTS = 100
THREADS = min(8, os.cpu_count() or 1)
Reason = Literal["broken", "tiny", "too_large", "no_caption"]
Understanding = Literal["scenes", "descriptions", "questions"]
Latents = Literal["auto", "cache", "encode"]


class Unusable(Exception):
    """A sample that training cannot use; the text says what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class Refused(NamedTuple):
    """A sample that was drawn and could not be used."""

    key: str
    reason: str
    detail: str


class Visit(NamedTuple):
    """What stands at one position: a sample's key, its texts and what was loaded of it (pixels or latents).

    ``part`` numbers the part of a mixture; ``refused`` lists the samples that this one stands in for.
    """

    position: int
    key: str
    part: int
    texts: Texts
    value: Tensor
    refused: tuple[Refused, ...] = ()


class Read(NamedTuple):
    """A sample's image, None where it cannot be used, and a hash of the bytes that image and texts are made of."""

    image: UInt8[Tensor, "3 s s"] | None
    digest: bytes


class Context(NamedTuple):
    """What a run knows before it opens its source: the scenes' world, the side of its images, how many scenes."""

    world: World
    resolution: int
    train_scenes: int


class SourceConfig(ComponentConfig):
    """What every source can be told.

    ``resolution``: side of its images in pixels, which encoders see and decoders draw; null for the foundation's.
    """

    resolution: int | None = Field(default=None, ge=8)

    def side(self, context: Context) -> int:
        """The side of the source's images: what it was told, else that of what it takes part in."""
        return self.resolution or context.resolution


class Source(ABC):
    """Images with captions at the positions of an endless stream.

    ``understanding`` says what the source offers beside captions: ``scenes``, nothing (a run keeps to the scenes'
    questions); ``descriptions``, captions as descriptions beside them; ``questions``, its own questions instead.
    ``resumes`` says, for the data card, how exactly a run goes on after a stop.
    """

    Config: ClassVar[type[ComponentConfig]]
    resumes: ClassVar[str] = "exactly, at the next sample"
    understanding: Understanding = "scenes"

    @classmethod
    def shows_scenes(cls, config: Any) -> bool:
        """Whether its images are the embedded world's, which a run is tested on unless it chooses otherwise."""
        return False

    @classmethod
    @abstractmethod
    def build(cls, config: Any, context: Context) -> Source:
        """Open the source; ValueError if its files are missing, unsafe, or changed since they were indexed."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Identifies content and transform: latents are cached under it, and the data card shows it."""

    @abstractmethod
    def visits(
        self, seed: int, begin: int, end: int, load: Callable[[int], Tensor], pool: Executor | None
    ) -> list[Visit]:
        """What stands at positions ``begin`` to ``end``; ``load`` gives the value of an index, ``pool`` runs it."""

    def repeated_captions(self) -> Iterator[str]:
        """Captions that training shows again and again; by default none are known to be."""
        return iter(())

    def parts(self) -> list[dict[str, Any]]:
        """What the data card says of each part."""
        return [{"name": self.name}]

    def journal(self) -> dict[str, Any]:
        """State that a resumed run needs: none where order is a function of the position."""
        return {}

    def restore(self, journal: dict[str, Any]) -> None:
        """Take the `journal` of the run that is resumed."""
        assert not journal, "a source without state is given none"


class IndexedSource(Source):
    """A source that finds any of its ``len`` samples directly."""

    latents: Latents = "auto"

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """The sample's name, for logs and cards."""

    @abstractmethod
    def image(self, index: int) -> UInt8[Tensor, "3 s s"]:
        """The decoded and resized image; raises `Unusable`."""

    @abstractmethod
    def texts(self, index: int) -> Texts:
        """Captions and questions; raises `Unusable` where there is no caption."""

    def stamp(self, again: bool = False) -> str:
        """A quick look at the files (`unimm.data.content`), as they were opened or, ``again``, as they are now; empty
        for a source whose name says all."""
        return ""

    def digest(self, index: int) -> bytes:
        """A hash of the bytes that the sample's image and texts are made of; empty where the name says all."""
        return b""

    def read(self, index: int) -> Read:
        """The image, and the hash of the very bytes that it was decoded from."""
        try:
            return Read(self.image(index), b"")
        except Unusable:
            return Read(None, b"")

    def content(self) -> str:
        """The digest of all samples, in order; empty where the name says all."""
        return self.content_of(range(len(self)))

    def content_of(self, indices: Sequence[int]) -> str:
        """The digest of some samples, in this order."""
        if not self.stamp():
            return ""
        with ThreadPoolExecutor(THREADS) as pool:
            return joined(tqdm(pool.map(self.digest, indices), total=len(indices), desc="reading files again"))

    def part(self, index: int) -> int:
        """Which part of a mixture the sample belongs to."""
        return 0

    def order(self, seed: int, begin: int, end: int) -> NDArray[np.int64]:
        """Indices of positions: each epoch is a fresh permutation."""
        return permuted(seed, np.arange(begin, end), len(self))

    def other(self, seed: int, position: int, attempt: int, index: int) -> int:
        """The stand-in for an unusable ``index``: drawn by (seed, position, attempt) alone, so no run depends on what
        it met before, and every epoch spreads the stand-ins anew."""
        return int(np.random.default_rng([seed, position, attempt, 41]).integers(len(self)))

    def visits(
        self, seed: int, begin: int, end: int, load: Callable[[int], Tensor], pool: Executor | None
    ) -> list[Visit]:
        def visit(position: int, index: int) -> Visit:
            return self._visit(seed, position, index, load)

        pairs = range(begin, end), self.order(seed, begin, end).tolist()
        return list(map(visit, *pairs) if pool is None else pool.map(visit, *pairs))

    def _visit(self, seed: int, position: int, index: int, load: Callable[[int], Tensor]) -> Visit:
        refused: list[Refused] = []
        for attempt in range(ATTEMPTS):
            try:
                value, texts = load(index), self.texts(index)
            except Unusable as problem:
                refused.append(Refused(self.key(index), problem.reason, str(problem)))
                index = self.other(seed, position, attempt, index)
            else:
                return Visit(position, self.key(index), self.part(index), texts, value, tuple(refused))
        last = refused[-1]
        raise ValueError(
            f"{self.name}: {ATTEMPTS} samples in a row cannot be used (last: {last.key}: {last.reason}, "
            f"{last.detail}); look at the data with `unimm data inspect`"
        )

    def batches(self, size: int) -> Iterator[Float[Tensor, "b 3 s s"]]:
        """All images in [0, 1], in the order of their indices; one that cannot be used is all NaN."""
        return (images for images, _ in self.reads(size, range(len(self))))

    def reads(self, size: int, indices: Sequence[int]) -> Iterator[tuple[Float[Tensor, "b 3 s s"], list[bytes]]]:
        """Images of ``indices``, ``size`` at a time, with the hashes of what they were made of."""
        with ThreadPoolExecutor(THREADS) as pool:
            for begin in range(0, len(indices), size):
                found = list(pool.map(self.read, indices[begin : begin + size]))
                yield torch.stack([self._or_nan(read.image) for read in found]), [read.digest for read in found]

    def _or_nan(self, image: UInt8[Tensor, "3 s s"] | None) -> Float[Tensor, "3 s s"]:
        return torch.full((3, self.resolution, self.resolution), torch.nan) if image is None else image.float() / 255

    @property
    @abstractmethod
    def resolution(self) -> int:
        """Side of the images in pixels."""
