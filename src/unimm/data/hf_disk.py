"""A Hugging Face dataset that ``save_to_disk`` wrote: Arrow tables, read by row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimm.data.captions import Texts
from unimm.data.decode import check_size
from unimm.data.files_source import FilesSource, LocalConfig
from unimm.data.source import Unusable

STATE, SPLITS = "state.json", "dataset_dict.json"


class HfDisk(FilesSource):
    """A Hugging Face dataset saved on disk; needs the `datasets` package."""

    class Config(LocalConfig):
        """``image``: the column of images; ``split``: which split, where the folder holds several."""

        image: str = "image"
        split: str | None = None

    def __init__(self, config: Config, resolution: int) -> None:
        super().__init__(config, resolution)
        self._folder, self._image = split_folder(Path(config.path), config.split), config.image
        rows = load(self._folder)
        if config.image not in rows.column_names:
            raise ValueError(
                f"{self._folder} has no column {config.image!r}; source.image is one of: {', '.join(rows.column_names)}"
            )
        self._images = _undecoded(rows.select_columns([config.image]), config.image, self._folder)
        # No other column: `datasets` would decode any images in them, without our limits.
        texts = [name for name in (config.short, config.long, config.caption, config.questions) if name is not None]
        found = [name for name in dict.fromkeys(texts) if name in rows.column_names]
        if not found:
            raise ValueError(
                f"{self._folder} has no column of texts ({', '.join(texts)}); name one with source.caption, "
                f"source.short or source.long: {', '.join(rows.column_names)}"
            )
        self._records = rows.select_columns(found)

    @property
    def fingerprint(self) -> str:
        # `datasets` renews the fingerprint in this file with every change, and names the Arrow files here.
        return hashlib.sha256((self._folder / STATE).read_bytes()).hexdigest()[:16]

    def files(self) -> list[Path]:
        named = json.loads((self._folder / STATE).read_text(encoding="utf-8")).get("_data_files", [])
        return [self._folder / STATE, *(self._folder / str(entry["filename"]) for entry in named)]

    def text_bytes(self, index: int) -> bytes:
        return repr(self._records[index]).encode(errors="surrogatepass")

    def __len__(self) -> int:
        return len(self._images)

    def key(self, index: int) -> str:
        return f"{self._folder.name}/{index}"

    def image_bytes(self, index: int) -> bytes:
        value = self._images[index][self._image]
        if not isinstance(value, Mapping) or not (value["bytes"] or value["path"]):
            raise Unusable("broken", "no image")
        if value["bytes"] is None:
            raise Unusable("broken", f"only the path {value['path']!r}: save the dataset with its images embedded")
        data: bytes = value["bytes"]
        check_size(len(data))
        return data

    def texts(self, index: int) -> Texts:
        return self._texts(self._records[index])

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "samples": len(self)}]


def split_folder(folder: Path, split: str | None) -> Path:
    """The folder of one split; ValueError if it is not there, or several are and none was chosen."""
    if not (folder / SPLITS).is_file() and not (folder / STATE).is_file():
        raise ValueError(f"{folder} was not written by save_to_disk: it has neither {STATE} nor {SPLITS}")
    splits = sorted(path.parent.name for path in folder.glob(f"*/{STATE}")) if (folder / SPLITS).is_file() else []
    if (split is None) == (not splits) and (split is None or split in splits):
        return folder / split if split else folder
    raise ValueError(f"{folder}: source.split is one of: {', '.join(splits) or 'nothing, since it has no splits'}")


def load(folder: Path) -> Any:
    """The dataset in a folder; ValueError where the library is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("source hf_disk needs the `datasets` package: pip install 'unimm[hf]'") from error
    return datasets.load_from_disk(str(folder))


def _undecoded(rows: Any, column: str, folder: Path) -> Any:
    """The column as encoded bytes, so that our own decoder with its limits reads them; ValueError for another kind."""
    import datasets

    kind = rows.features[column]
    try:
        return rows.cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{folder}: column {column!r} holds {kind}, not one image a row: name another with source.image, or keep "
            "one image a row and save the dataset again"
        ) from error
