"""What sources of encoded images share: settings, and captions from records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from jaxtyping import UInt8
from pydantic import Field, PositiveInt
from torch import Tensor

from unimm.data.captions import TEXT_BYTES, Keys, Texts, cut, read_record, texts_of, with_txt
from unimm.data.content import file_stamp, hash_of
from unimm.data.decode import TRANSFORM, Limits, decode
from unimm.data.source import Context, IndexedSource, Latents, Read, SourceConfig, Understanding, Unusable


class FilesConfig(SourceConfig):
    """Settings of every source of encoded images.

    ``min_side``: pixels a side below which an image is left out; ``max_pixels``: pixels above which it is.
    ``words``: words after which captions are cut, and those without white space after 16 times as many characters.
    ``short``, ``long``: the entries of a sample's record (JSON object, JSONL line, table row) with such captions.
    ``caption``: the entry with captions of unknown kind; in tars the sample's .txt comes first unless this is set.
    ``questions``: the entry with questions and answers, null for none.
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
    """Settings of a source of encoded images in a folder.

    ``path``: the folder; ``latents``: cache on disk, encode at every step, or decide by the size (docs/data.md).
    """

    path: str = Field(min_length=1)
    latents: Latents = "auto"


class FilesSource(IndexedSource):
    """A source whose samples are encoded images with records."""

    def __init__(self, config: LocalConfig, resolution: int) -> None:
        self.config = config
        self.latents = config.latents
        self.understanding: Understanding = "descriptions" if config.questions is None else "questions"
        self._resolution = resolution
        self._stamp: str | None = None

    @classmethod
    def build(cls, config: Any, context: Context) -> Self:
        return cls(config, config.side(context))

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash over names and sizes, the same for a copy of the files; what they hold is looked at by `stamp`."""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """Every file that images and texts are read from, in order; one may be missing."""

    @abstractmethod
    def image_bytes(self, index: int) -> bytes:
        """The encoded image; raises `Unusable` if it cannot be read or is larger than any image should be."""

    def text_bytes(self, index: int) -> bytes:
        """What the texts are made of, where the fingerprint does not hold them already."""
        return b""

    def stamp(self, again: bool = False) -> str:
        if again or self._stamp is None:
            self._stamp = file_stamp(self.files())
        return self._stamp

    def digest(self, index: int) -> bytes:
        return hash_of(self._bytes(index)[0], self.text_bytes(index))

    def read(self, index: int) -> Read:
        data, usable = self._bytes(index)
        digest = hash_of(data, self.text_bytes(index))
        try:
            image = decode(data, self.resolution, self.config.limits) if usable else None
        except Unusable:
            image = None
        return Read(image, digest)

    def _bytes(self, index: int) -> tuple[bytes, bool]:
        """The encoded image, or what is wrong with it, and which of the two."""
        try:
            return self.image_bytes(index), True
        except Unusable as problem:
            return str(problem).encode(), False

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
        return _usable(lambda: texts_of(record, self.config.keys, self.config.words))


def member_texts(described: bytes, written: bytes, config: FilesConfig) -> Texts:
    """Texts of a tar's sample, of its .json and .txt together (`with_txt`); raises `Unusable` without a caption.

    An entry of the .json that was named, as in ``source.caption=recaption``, comes before the .txt.
    """
    json_first = config.caption != FilesConfig.model_fields["caption"].default

    def read() -> Texts:
        texts = texts_of(read_record(described), config.keys, config.words) if described else Texts()
        return with_txt(texts, cut(written.decode("utf-8-sig"), config.words), json_first)

    return _usable(read)


def _usable(read: Callable[[], Texts]) -> Texts:
    """What was read; raises `Unusable` where it is not text or holds no caption."""
    try:
        texts = read()
    except ValueError as error:
        raise Unusable("no_caption", str(error)) from error
    if not texts.captions:
        raise Unusable("no_caption", "no text")
    return texts


def check_text_size(size: int) -> None:
    """Raise `Unusable` for a text of so many bytes, before it is parsed."""
    if size > TEXT_BYTES:
        raise Unusable("no_caption", f"a text of {size} bytes")
