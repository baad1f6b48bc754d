"""WebDataset tars that are streamed from elsewhere, for sets that no local disk holds.

What is exact: the order of shards is a function of (seed, epoch), that of samples within a shard of (seed, epoch,
shard), so that two undisturbed runs see the same. What cannot be exact: sample p is only found by reading the shards
before it, so a resumed run reads the interrupted shard again from its start, as the checkpoint's journal names it; a
shard whose reading fails is left out and shifts all that follows; content has no fingerprint; a mixture, a latent
cache and descriptions for joint training, which all need random access, are not offered.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from random import Random
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from pydantic import Field, NonNegativeInt
from torch import Tensor

from unimm.data.captions import Texts
from unimm.data.decode import IMAGE_BYTES, SUFFIXES, check_size, decode
from unimm.data.files_source import FilesConfig, check_text_size, member_texts
from unimm.data.source import ATTEMPTS, Context, Refused, Source, Unusable, Visit
from unimm.data.tar_index import leaves_folder

META = re.compile(r"__[^/]*__($|/)")


class Begin(NamedTuple):
    """The first position that a shard of an epoch serves, and what the shards before it left refused."""

    position: int
    epoch: int
    shard: int
    refused: tuple[Refused, ...] = ()


class RemoteShards(Source):
    """Remote WebDataset tars, streamed with `webdataset`; resumes by shard."""

    resumes: ClassVar[str] = "by reading the interrupted shard again; not exactly where a shard changed or failed"

    class Config(FilesConfig):
        """``urls``: as `webdataset` takes them, braces included; ``buffer``: samples of a shard that are shuffled."""

        urls: str = Field(min_length=1)
        buffer: NonNegativeInt = 1000

    def __init__(self, config: Config, resolution: int) -> None:
        self.config, self.resolution = config, resolution
        self.urls = expand(config.urls)
        self.failures: list[str] = []
        self._begins: list[Begin] = []
        self._next = -1
        self._stream: Iterator[Visit] = iter(())

    @classmethod
    def build(cls, config: Config, context: Context) -> RemoteShards:
        return cls(config, config.side(context))

    @property
    def name(self) -> str:
        return f"{self.config.urls}@{self.resolution}"

    def visits(
        self, seed: int, begin: int, end: int, load: Callable[[int], Tensor], pool: Executor | None
    ) -> list[Visit]:
        """The next visits of the stream; what lies between is read and left to other ranks, and a step back starts the
        stream again where needed."""
        if not 0 <= self._next <= begin:
            self._rewind(seed, begin)
        else:
            for _ in range(self._next, begin):
                next(self._stream)
        visits = [next(self._stream) for _ in range(begin, end)]
        self._next = end
        return visits

    def _rewind(self, seed: int, position: int) -> None:
        """Read again from the last shard that begins at or before ``position``."""
        start = max((b for b in self._begins if b.position <= position), default=Begin(0, 0, 0))
        self._begins = [b for b in self._begins if b.position < start.position]
        self._stream = self._visits(seed, start)
        for _ in range(start.position, position):
            next(self._stream)

    def _visits(self, seed: int, start: Begin) -> Iterator[Visit]:
        position, epoch, first = start[:3]
        refused = list(start.refused)
        while True:
            order = np.random.default_rng([seed, epoch, 59]).permutation(len(self.urls)).tolist()
            served = position
            for shard in range(first, len(order)):
                self._begins.append(Begin(position, epoch, shard, tuple(refused)))
                for visit in self._shard(seed, epoch, order[shard], position, refused):
                    yield visit
                    position += 1
            if position == served and first == 0:
                raise ValueError(f"{self.name}: no sample of any shard can be used (failures: {self.failures[-1:]})")
            epoch, first = epoch + 1, 0

    def _shard(self, seed: int, epoch: int, number: int, position: int, refused: list[Refused]) -> Iterator[Visit]:
        """Usable samples of a shard; the next usable one, of this shard or a later one, stands in for one that is not.

        ``refused`` lists those that wait for it, from shard to shard.
        """
        for sample in self._samples(seed, epoch, number):
            key = f"{sample['__url__']}/{sample['__key__']}"
            if leaves_folder(sample["__key__"]):
                raise ValueError(f"{key} would leave its folder if it were unpacked; leave this shard out")
            try:
                texts, image = self._read(sample)
            except Unusable as problem:
                refused.append(Refused(key, problem.reason, str(problem)))
                if len(refused) == ATTEMPTS:
                    raise ValueError(
                        f"{self.name}: {ATTEMPTS} samples in a row cannot be used, the last: {key}"
                    ) from problem
            else:
                visit = Visit(position, key, 0, texts, image, tuple(refused))
                refused.clear()
                yield visit
                position += 1

    def _samples(self, seed: int, epoch: int, number: int) -> Iterator[dict[str, Any]]:
        """Samples of a shard as `webdataset` gives them; a failure ends the shard and is noted."""
        webdataset, url = _webdataset(), self.urls[number]

        def note(error: Exception) -> bool:
            self.failures.append(f"{url}: {error.args[0] if error.args else error}")
            return False

        library = webdataset.tariterators
        files = _files(library.url_opener(iter([{"url": url}]), handler=note), note)
        samples = library.group_by_keys(files, suffixes={*SUFFIXES, "txt", "json"}, handler=note)
        buffer = self.config.buffer
        if not buffer:
            return cast("Iterator[dict[str, Any]]", samples)
        rng = Random(f"{seed}/{epoch}/{number}")
        shuffled = webdataset.filters.shuffle(buffer, initial=buffer, rng=rng)(samples)
        return cast("Iterator[dict[str, Any]]", shuffled)

    def _read(self, sample: dict[str, Any]) -> tuple[Texts, Tensor]:
        suffix = next((suffix for suffix in SUFFIXES if suffix in sample), None)
        if suffix is None:
            raise Unusable("broken", "no image")
        described, written = sample.get("json", b""), sample.get("txt", b"")
        check_text_size(len(described) + len(written))
        check_size(len(sample[suffix]))
        texts = member_texts(described, written, self.config)
        return texts, decode(sample[suffix], self.resolution, self.config.limits)

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "shards": len(self.urls), "failures": list(self.failures)}]

    def journal(self) -> dict[str, Any]:
        return {"begins": [list(begin) for begin in self._begins], "failures": list(self.failures)}

    def restore(self, journal: dict[str, Any]) -> None:
        self._begins = [_begin(*begin) for begin in journal["begins"]]
        self.failures = list(journal["failures"])


def _files(streams: Iterable[dict[str, Any]], note: Callable[[Exception], bool]) -> Iterator[dict[str, Any]]:
    """Members of tars as `webdataset` groups them; it would itself read each one whole, however large.

    Of one that is too large just enough is read to tell, compressed tars and sparse members included.
    """
    for source in streams:
        try:
            with tarfile.open(fileobj=source["stream"], mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isreg() and not META.match(member.name) else None
                    if content is not None:
                        data = content.read(IMAGE_BYTES + 1)
                        yield {"fname": member.name, "data": data, "__url__": source["url"]}
                    archive.members = []  # type: ignore[attr-defined]
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            note(error)
        yield {}


def _begin(position: int, epoch: int, shard: int, refused: Iterable[Iterable[str]] = ()) -> Begin:
    """A `Begin` from a journal; those of earlier versions name nothing refused."""
    return Begin(position, epoch, shard, tuple(Refused(*entry) for entry in refused))


def expand(urls: str) -> list[str]:
    """The shards' addresses; ValueError for one that would run a command."""
    shards: list[str] = _webdataset().shardlists.expand_urls(urls)
    for url in shards:
        if url.startswith("pipe:"):
            raise ValueError(f"source.urls: {url!r} would run a command; give an address that webdataset opens itself")
    return shards


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise ValueError("source remote_shards needs the `webdataset` package: pip install 'unimm[shards]'") from error
    return webdataset
