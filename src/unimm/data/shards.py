"""WebDataset tars on a local disk, as BLIP3o-Pretrain ships them: jpg, png or webp with txt and/or json captions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from unimm.data.captions import TEXT_BYTES, Texts
from unimm.data.decode import check_size
from unimm.data.files_source import FilesSource, LocalConfig, check_text_size, member_texts
from unimm.data.tar_index import FILE, Span, TarIndex, build_index, check_current, load_index, read_span


class Shards(FilesSource):
    """Local WebDataset tars by random access: exact order, exact resume."""

    class Config(LocalConfig):
        """``path``: folder of the tars; ``index``: its offset index, if that is not ``index.safetensors`` there."""

        index: str | None = None

    def __init__(self, config: Config, resolution: int) -> None:
        super().__init__(config, resolution)
        self._folder = Path(config.path)
        self.index = open_index(self._folder, config.index)
        self._fingerprint = self.index.fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def files(self) -> list[Path]:
        return [self._folder / shard.file for shard in self.index.shards]

    def text_bytes(self, index: int) -> bytes:
        spans = [self.index.span(index, kind) for kind in ("record", "text")]
        # Texts beyond the limit are not used, and another size of theirs is another fingerprint.
        return b"".join(self._read(index, span) for span in spans if span.size <= TEXT_BYTES)

    def __len__(self) -> int:
        return len(self.index)

    def key(self, index: int) -> str:
        return self.index.key(index)

    def image_bytes(self, index: int) -> bytes:
        span = self.index.span(index, "image")
        check_size(span.size)
        return self._read(index, span)

    def texts(self, index: int) -> Texts:
        described, written = self.index.span(index, "record"), self.index.span(index, "text")
        check_text_size(described.size + written.size)
        return member_texts(self._read(index, described), self._read(index, written), self.config)

    def _read(self, index: int, span: Span) -> bytes:
        return b"" if not span.size else read_span(self._folder / self.index.shards[self.index.shard[index]].file, span)

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "samples": len(self), "left_out_of_index": self.index.left_out}]


def open_index(folder: Path, file: str | None) -> TarIndex:
    """The folder's index, made (and kept beside the tars) if there is none; ValueError if the tars changed."""
    path = Path(file) if file is not None else folder / FILE
    if file is not None and not path.is_file():
        raise ValueError(f"source.index: no file {path}; make it with `unimm data index {folder} --out {path}`")
    if path.is_file():
        index = load_index(path)
        current = check_current(index, folder)
        if current is not index:
            with suppress(OSError):  # where only others may write, the tars are looked at again the next time
                current.save(path)
        return current
    index = build_index(folder)
    try:
        index.save(path)
    except OSError as error:
        raise ValueError(
            f"cannot write {path} ({error}): make the index elsewhere with `unimm data index {folder} --out FILE` "
            "and set source.index=FILE"
        ) from error
    return index
