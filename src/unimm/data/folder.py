"""A folder of image files with a JSONL file that names each image and its captions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimm.data.captions import Texts, read_record
from unimm.data.decode import check_size
from unimm.data.files_source import FilesSource, LocalConfig
from unimm.data.source import Unusable
from unimm.data.tar_index import Span, leaves_folder, read_span

LONGEST_NAME = 255  # bytes, of every usual file system


class Folder(FilesSource):
    """Image files with a JSONL file: one object a line, with the image's path below the folder and its captions."""

    class Config(LocalConfig):
        """``file``: the JSONL file, by default the only one in the folder; ``image``: its entry for the path."""

        file: str | None = None
        image: str = "file"

    def __init__(self, config: Config, resolution: int) -> None:
        super().__init__(config, resolution)
        self._folder, self._image = Path(config.path), config.image
        self._lines = lines_file(self._folder, config.file)
        self._spans, self._fingerprint = self._read_lines()

    def _read_lines(self) -> tuple[NDArray[np.int64], str]:
        """Where each line lies, and a hash of all lines and of the images' sizes; ValueError for a bad line."""
        spans, offset, digest = [], 0, hashlib.sha256()
        with self._lines.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    try:
                        path = self._path(read_record(line))
                    except ValueError as error:
                        raise ValueError(f"{self._lines}, line {number}: {error}") from error
                    spans.append((offset, len(line)))
                    digest.update(line + str(path.stat().st_size if path.is_file() else None).encode())
                offset += len(line)
        if not spans:
            raise ValueError(f"{self._lines} is empty: give it one line for each image")
        return np.array(spans, np.int64), digest.hexdigest()[:16]

    def _path(self, record: dict[str, Any]) -> Path:
        name = record.get(self._image)
        if not isinstance(name, str) or not name:
            raise ValueError(f"no {self._image!r} with an image's path; source.image names the entry that has it")
        if leaves_folder(name):
            raise ValueError(f"{name!r} would leave the folder; give paths below it, with / between folders")
        try:
            parts = name.encode().split(b"/")
        except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
            raise ValueError(f"{name!r} is no text: {error.reason} at character {error.start}") from error
        if b"\0" in name.encode() or any(len(part) > LONGEST_NAME for part in parts):
            raise ValueError(f"{name[:40]!r} cannot be a file: {LONGEST_NAME} bytes a name at most, and no NUL")
        return self._folder / name

    def _record(self, index: int) -> dict[str, Any]:
        return read_record(read_span(self._lines, Span(*map(int, self._spans[index]))))

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def files(self) -> Iterator[Path]:
        for index in range(len(self)):
            yield self._path(self._record(index))

    def __len__(self) -> int:
        return len(self._spans)

    def key(self, index: int) -> str:
        return self._path(self._record(index)).relative_to(self._folder).as_posix()

    def image_bytes(self, index: int) -> bytes:
        path = self._path(self._record(index))
        if not path.is_file():
            raise Unusable("broken", "no such file")
        check_size(path.stat().st_size)
        return path.read_bytes()

    def texts(self, index: int) -> Texts:
        return self._texts(self._record(index))

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "samples": len(self)}]


def lines_file(folder: Path, file: str | None) -> Path:
    """The JSONL file of a folder; ValueError if there is none, or several and no choice."""
    found = [folder / file] if file is not None else sorted(folder.glob("*.jsonl"))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    if len(found) != 1:
        what = "no .jsonl file" if not found else f"several .jsonl files ({', '.join(path.name for path in found)})"
        raise ValueError(f"{folder} has {what}; source.file names the one that lists the images")
    if not found[0].is_file():
        raise ValueError(f"{found[0]}: no such file")
    return found[0]
