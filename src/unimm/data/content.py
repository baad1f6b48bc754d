"""Whether files still hold what they held: a quick look at sizes and times, and a hash of what was read.

What is computed from files and kept (latents, statistics, a run that is to go on) is kept with the `Content` that it
was computed from. The stamp, over size and modification time of every file, is the quick look: while it stays, nothing
is read. Where it differs, files were edited or merely copied, and the digest over the bytes of all samples decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class Content(NamedTuple):
    """What files held at a time: a stamp of their sizes and times, and a digest of their samples.

    The stamp is empty for data without files, of which the name says all; the digest where samples were not read.
    """

    stamp: str = ""
    digest: str = ""


@runtime_checkable
class OfFiles(Protocol):
    """Samples that may come from files."""

    def stamp(self, again: bool = False) -> str:
        """Of the files as they were opened or, ``again``, as they are now; empty where there are none."""

    def content(self) -> str:
        """The digest of all samples, which are read for it."""


def stamp_of(data: object, again: bool = False) -> str:
    """The stamp of data that may come from files."""
    return data.stamp(again) if isinstance(data, OfFiles) else ""


def unchanged(kept: Content, data: object) -> Content | None:
    """What was kept under the files' present stamp; None where they hold something else by now."""
    stamp = stamp_of(data)
    if stamp == kept.stamp:
        return kept
    if kept.digest and isinstance(data, OfFiles) and data.content() == kept.digest:
        return Content(stamp, kept.digest)
    return None


def check_still(stamp: str, data: object, what: str) -> None:
    """ValueError where files were written while something was computed from them."""
    if stamp_of(data, again=True) != stamp:
        raise ValueError(f"{what}: files were written while they were read; start again once nothing writes to them")


def file_stamp(files: Iterable[Path]) -> str:
    """Over sizes and modification times of files in order; one that is missing counts as such."""
    digest = hashlib.sha256()
    for path in files:
        try:
            found = path.stat()
        except FileNotFoundError:
            digest.update(b"missing;")
        else:
            digest.update(f"{found.st_size} {found.st_mtime_ns};".encode())
    return digest.hexdigest()[:16]


def joined(digests: Iterable[bytes]) -> str:
    """One digest of many samples', in order."""
    digest = hashlib.sha256()
    for one in digests:
        digest.update(one)
    return digest.hexdigest()[:32]


def hash_of(*parts: bytes) -> bytes:
    """32 bytes over the parts and where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
