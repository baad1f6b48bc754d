"""The offset index of WebDataset tars: where in which tar each sample's image, caption and record lie.

With it a local set of tars is read by random access. The index is one safetensors file; it is valid as long as the
tars have the names and sizes it was made from; one that was written since is looked at again. Nothing is ever unpacked
to disk; tars whose members would leave a folder if they were (absolute names, "..", links) are refused all the same,
since other tools do unpack them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import load_file
from tqdm import tqdm

from unimm.data.decode import SUFFIXES
from unimm.files import write_atomic

FILE = "index.safetensors"
VERSION = "1"
KINDS = ("image", "text", "record")
DOTTED = "several dots in its name"
BLOCK, READ = tarfile.BLOCKSIZE, 1 << 20
SUFFIX_KINDS = dict.fromkeys(SUFFIXES, "image") | {"txt": "text", "json": "record"}


class Shard(NamedTuple):
    """A tar: its name below the folder, size in bytes, number of usable samples and of those left out by reason."""

    file: str
    size: int
    samples: int
    left_out: dict[str, int]


class Span(NamedTuple):
    """Bytes of a shard; ``size`` 0 where there are none."""

    offset: int
    size: int


@dataclass(frozen=True)
class TarIndex:
    """Samples in the order of shards and of their members.

    ``shard`` int32 ``[n]``; ``spans`` int64 ``[n, 3, 2]``: (offset, size) of image, text and record; keys as joined
    UTF-8 with the end of each. ``modified``: when each tar was last written, in nanoseconds; an index of earlier
    versions does not say, and has when itself was ``made``.
    """

    shards: tuple[Shard, ...]
    shard: NDArray[np.int32]
    spans: NDArray[np.int64]
    key_bytes: NDArray[np.uint8]
    key_ends: NDArray[np.int64]
    modified: tuple[int, ...] = ()
    made: int = 0

    def __len__(self) -> int:
        return len(self.shard)

    def key(self, index: int) -> str:
        """``shard.tar/key``."""
        begin = int(self.key_ends[index - 1]) if index else 0
        text = self.key_bytes[begin : self.key_ends[index]].tobytes().decode()
        return f"{self.shards[self.shard[index]].file}/{text}"

    def span(self, index: int, kind: str) -> Span:
        """Where the sample's ``image``, ``text`` or ``record`` lies in its shard."""
        return Span(*map(int, self.spans[index, KINDS.index(kind)]))

    @property
    def left_out(self) -> dict[str, int]:
        """Samples that were left out, by reason."""
        return dict(sum((Counter(shard.left_out) for shard in self.shards), Counter[str]()))

    @property
    def fingerprint(self) -> str:
        """Hash over names, sizes and the place of every sample."""
        # Images with several dots were not counted at first; the fingerprints of that time stay valid.
        counted = [{why: n for why, n in shard.left_out.items() if why != DOTTED} for shard in self.shards]
        shards = [shard._replace(left_out=left) for shard, left in zip(self.shards, counted, strict=True)]
        digest = hashlib.sha256(json.dumps(shards).encode())
        for array in (self.shard, self.spans, self.key_bytes):
            digest.update(np.ascontiguousarray(array).reshape(-1).data)
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the index, atomically."""
        arrays: dict[str, NDArray[Any]] = {
            "shard": self.shard,
            "spans": self.spans,
            "key_bytes": self.key_bytes,
            "key_ends": self.key_ends,
        }
        facts = {"shards": self.shards, "modified": self.modified}
        write_atomic(
            path, save(arrays, {"version": VERSION, **{key: json.dumps(value) for key, value in facts.items()}})
        )


def load_index(path: Path) -> TarIndex:
    """Read an index; ValueError if it is damaged or was written by another version."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
        # Through torch the arrays are mapped, not read: the index of tens of millions of samples takes no memory, and
        # processes share it.
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"index {path} is damaged ({error}); run `unimm data index {path.parent}` again") from error
    if metadata.get("version") != VERSION:
        raise ValueError(f"index {path} has another version; run `unimm data index {path.parent}` again")
    shards = tuple(Shard(*shard) for shard in json.loads(metadata["shards"]))
    modified = tuple(json.loads(metadata.get("modified", "[]")))
    return TarIndex(shards, **arrays, modified=modified, made=path.stat().st_mtime_ns)


class Tar(NamedTuple):
    """A tar as it lies there: size in bytes, and when it was last written, in nanoseconds."""

    size: int
    modified: int


def tars_in(folder: Path) -> dict[str, Tar]:
    """Tars in the folder and below by name."""
    found = sorted(folder.rglob("*.tar"))
    if not found:
        raise ValueError(f"{folder}: no .tar file there" if folder.is_dir() else f"{folder}: no such folder")
    looked = {path.relative_to(folder).as_posix(): path.stat() for path in found}
    return {name: Tar(one.st_size, one.st_mtime_ns) for name, one in looked.items()}


def check_current(index: TarIndex, folder: Path) -> TarIndex:
    """The index with the times of the tars as they are; ValueError if they are not those that were indexed.

    A tar that was written since, to the same size, is scanned again: a copy has every sample in its place.
    """
    indexed, present = {shard.file: shard.size for shard in index.shards}, tars_in(folder)
    sizes = {name: tar.size for name, tar in present.items()}
    changed = sorted(name for name in indexed | sizes if indexed.get(name) != sizes.get(name))
    if not changed:
        times = tuple(present[shard.file].modified for shard in index.shards)
        if times == index.modified:
            return index
        changed = _moved(index, folder, times)
        if not changed:
            return replace(index, modified=times)
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    raise ValueError(
        f"{folder}: {changed[0]}{more} changed, came or went since the index was made; "
        f"run `unimm data index {folder}` again"
    )


def _moved(index: TarIndex, folder: Path, times: tuple[int, ...]) -> list[str]:
    """Tars that were written since, of which a sample lies elsewhere now."""
    known = index.modified or tuple(min(time, index.made) for time in times)
    written = [old != new for old, new in zip(known, times, strict=True)]
    return [
        scan.shard.file
        for scan, look in zip(_scans_of(index), written, strict=True)
        if look and not _same(scan, _scan(folder, scan.shard.file, scan.shard.size))
    ]


def build_index(folder: Path, known: TarIndex | None = None) -> TarIndex:
    """Index every tar in the folder; those that ``known`` has under the same name, size and time are not read again.

    Raises:
        ValueError: a tar is compressed, truncated or unsafe, or none holds a sample; names it and the member.
    """
    reused, present = {}, tars_in(folder)
    if known is not None and known.modified:
        pairs = zip(_scans_of(known), known.modified, strict=True)
        reused = {(scan.shard.file, Tar(scan.shard.size, modified)): scan for scan, modified in pairs}
    scans = []
    for file, tar in tqdm(present.items(), desc="indexing", unit="shard"):
        scans.append(reused.get((file, tar)) or _scan(folder, file, tar.size))
    index = replace(_joined(scans), modified=tuple(tar.modified for tar in present.values()))
    if not len(index):
        left_out = ", ".join(f"{count} with {reason}" for reason, count in index.left_out.items())
        raise ValueError(f"{folder}: no sample has an image and a caption ({left_out or 'the tars are empty'})")
    return index


class _Scan(NamedTuple):
    """One shard's part of the index."""

    shard: Shard
    spans: NDArray[np.int64]
    keys: list[bytes]


def _scan(folder: Path, file: str, size: int) -> _Scan:
    groups: dict[str, dict[str, Span]] = {}
    dotted = Counter[str]()
    for key, kind, span in members(folder / file):
        if kind == DOTTED:
            dotted[key] += 1
            continue
        parts = groups.setdefault(key, {})
        if kind in parts:
            raise ValueError(f"{folder / file}: sample {key!r} has two members of kind {kind}; repack the shard")
        parts[kind] = span
    kept = {key: parts for key, parts in groups.items() if "image" in parts and parts.keys() & {"text", "record"}}
    left_out = Counter(
        "no caption" if "image" in parts else "no image" for key, parts in groups.items() if key not in kept
    )
    # Beside a sample of the same key it is another member of it, such as a mask.
    left_out += Counter({DOTTED: sum(count for key, count in dotted.items() if key not in groups)})
    spans = np.zeros((len(kept), len(KINDS), 2), np.int64)
    for number, parts in enumerate(kept.values()):
        for kind, span in parts.items():
            spans[number, KINDS.index(kind)] = span
    return _Scan(Shard(file, size, len(kept), dict(left_out)), spans, [key.encode() for key in kept])


def members(path: Path) -> Iterator[tuple[str, str, Span]]:
    """(sample key, kind, place) of every member of a tar that belongs to a sample; ValueError for an unsafe tar.

    Images of which the suffix after the first dot is unknown, as in ``v1.5_a.png``, are of kind `DOTTED`.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = safe_name(path, member)
                suffix = name.rpartition("/")[2].partition(".")[2]
                kind = _kind(suffix.lower())
                if name and kind:
                    yield name[: len(name) - len(suffix) - 1], kind, Span(member.offset_data, member.size)
                archive.members = []  # type: ignore[attr-defined]
            _check_end(path, archive.offset)
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} is no whole, uncompressed tar ({error}): copy it again, or unpack and repack it"
        ) from error


def _kind(suffix: str) -> str | None:
    if suffix in SUFFIX_KINDS:
        return SUFFIX_KINDS[suffix]
    return DOTTED if suffix.rpartition(".")[2] in SUFFIXES else None


def _check_end(path: Path, offset: int) -> None:
    """`tarfile.ReadError` unless zeros follow to the file's end: tarfile takes a damaged header for the end."""
    if path.stat().st_size < offset + BLOCK:
        raise tarfile.ReadError("it is cut before its end")
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(READ):
            if data.count(0) != len(data):
                raise tarfile.ReadError(f"damaged header at byte {offset}")


def safe_name(path: Path, member: tarfile.TarInfo) -> str:
    """The member's name, empty for a folder; ValueError for one that could do harm when it is unpacked."""
    name = PurePosixPath(member.name)
    faults = {
        "would leave its folder": leaves_folder(member.name),
        "has an unprintable name": not member.name.isprintable(),
        "is a link or a device": not (member.isreg() or member.isdir()),
    }
    for what, found in faults.items():
        if found:
            raise ValueError(f"{path}: member {member.name!r} {what}; the tar is refused: repack it from trusted files")
    return "" if member.isdir() else name.as_posix()


def leaves_folder(name: str) -> bool:
    """Whether a file of this name, put into a folder, could end up outside of it (on any system)."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or re.match("[A-Za-z]:", name) is not None


def _same(one: _Scan, other: _Scan) -> bool:
    return one.keys == other.keys and np.array_equal(one.spans, other.spans)


def _scans_of(index: TarIndex) -> Iterator[_Scan]:
    ends = np.cumsum([shard.samples for shard in index.shards])
    for shard, end in zip(index.shards, ends.tolist(), strict=True):
        rows = range(end - shard.samples, end)
        keys = [index.key(i).removeprefix(f"{shard.file}/").encode() for i in rows]
        yield _Scan(shard, index.spans[rows.start : rows.stop], keys)


def _joined(scans: list[_Scan]) -> TarIndex:
    keys = [key for scan in scans for key in scan.keys]
    counts = [scan.shard.samples for scan in scans]
    return TarIndex(
        shards=tuple(scan.shard for scan in scans),
        shard=np.repeat(np.arange(len(scans), dtype=np.int32), counts),
        spans=np.concatenate([scan.spans for scan in scans]),
        key_bytes=np.frombuffer(b"".join(keys), np.uint8),
        key_ends=np.cumsum([len(key) for key in keys], dtype=np.int64),
    )


def read_span(path: Path, span: Span) -> bytes:
    """The bytes of a span; fewer if the file ends before it does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, span.size, span.offset)
    finally:
        os.close(descriptor)
