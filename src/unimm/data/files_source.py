"""What sources of encoded images share: settings, and captions from records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from jaxtyping import UInt8
from pydantic import Field, PositiveInt
from torch import Tensor

from unimm.data.captions import TEXT_BYTES, Keys, Texts, read_record, texts_of
from unimm.data.decode import TRANSFORM, Limits, decode
from unimm.data.source import Context, IndexedSource, Latents, SourceConfig, Understanding, Unusable


class FilesConfig(SourceConfig):
    """Settings of every source of encoded images.

    ``short``, ``long``, ``caption`` and ``questions`` name entries of a sample's record (JSON object, JSONL line,
    table row); ``caption`` is of unknown kind. Captions are cut after ``words`` words. ``latents``: ``cache`` on disk,
    ``encode`` at every step, or ``auto`` (see docs/data.md).
    """

    min_side: PositiveInt = 32
    max_pixels: PositiveInt = 50_000_000
    words: PositiveInt = 256
    short: str = "short"
    long: str = "long"
    caption: str = "caption"
    questions: str | None = Field(default=None, min_length=1)

    @property
    def keys(self) -> Keys:
        """The names as `texts_of` takes them."""
        return Keys(self.short, self.long, self.caption, self.questions)

    @property
    def limits(self) -> Limits:
        """The limits as `decode` takes them."""
        return Limits(self.min_side, self.max_pixels)


class LocalConfig(FilesConfig):
    """Settings of a source of encoded images in the folder ``path``."""

    path: str = Field(min_length=1)
    latents: Latents = "auto"


class FilesSource(IndexedSource):
    """A source whose samples are encoded images with records."""

    def __init__(self, config: LocalConfig, resolution: int) -> None:
        self.config = config
        self.latents = config.latents
        self.understanding: Understanding = "descriptions" if config.questions is None else "questions"
        self._resolution = resolution

    @classmethod
    def build(cls, config: Any, context: Context) -> Self:
        return cls(config, config.side(context))

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes with the content."""

    @abstractmethod
    def image_bytes(self, index: int) -> bytes:
        """The encoded image; raises `Unusable` if it cannot be read or is larger than any image should be."""

    @property
    def resolution(self) -> int:
        return self._resolution

    @property
    def name(self) -> str:
        limits = self.config.limits
        transform = f"{TRANSFORM}, sides from {limits.min_side}, up to {limits.max_pixels} pixels"
        return f"{self.config.path}#{self.fingerprint}@{self.resolution} ({transform})"

    def image(self, index: int) -> UInt8[Tensor, "3 s s"]:
        return decode(self.image_bytes(index), self.resolution, self.config.limits)

    def _texts(self, record: Mapping[str, Any]) -> Texts:
        """Texts of a record; raises `Unusable` where there is no caption."""
        return usable_texts(record, self.config)


def usable_texts(record: Mapping[str, Any], config: FilesConfig) -> Texts:
    """Texts of a record; raises `Unusable` where there is no caption."""
    try:
        texts = texts_of(record, config.keys, config.words)
    except ValueError as error:
        raise Unusable("no_caption", str(error)) from error
    if not texts.captions:
        raise Unusable("no_caption", "no text")
    return texts


def member_texts(described: bytes, written: bytes, config: FilesConfig) -> Texts:
    """Texts of a tar's sample: of its .json and, where that has no caption of unknown kind, of its .txt."""
    try:
        record = read_record(described) if described else {}
        if written:
            record.setdefault(config.caption, written.decode())
    except ValueError as error:
        raise Unusable("no_caption", str(error)) from error
    return usable_texts(record, config)


def check_text_size(size: int) -> None:
    """Raise `Unusable` for a text of so many bytes, before it is parsed."""
    if size > TEXT_BYTES:
        raise Unusable("no_caption", f"a text of {size} bytes")
