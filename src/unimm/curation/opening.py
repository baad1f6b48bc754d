"""Open a data set by its path: what lies there says which source reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from unimm.data.files_source import FilesSource
from unimm.data.hf_disk import SPLITS, STATE
from unimm.registry import nearest, sources

TRACES = {
    "shards": ("**/*.tar",),
    "hf_disk": (STATE, SPLITS),
    "folder": ("*.jsonl",),
}
RESOLUTION = 64


def open_path(path: Path, settings: Sequence[str] = (), resolution: int = RESOLUTION) -> FilesSource:
    """The data set at ``path``; ``settings`` are ``key=value``, the keys that ``source`` has in a run.

    Raises:
        ValueError: nothing there is a data set, or a setting is wrong.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder")
    kind = next((kind for kind, globs in TRACES.items() if any(any(path.glob(glob)) for glob in globs)), None)
    if kind is None:
        raise ValueError(f"{path} holds no data set: no .tar, no .jsonl, and nothing that save_to_disk wrote")
    cls: Any = sources.get(kind)
    try:
        config = cls.Config.model_validate({"path": str(path), **_values(settings)})
    except ValidationError as error:
        raise ValueError(_explained(error, kind, [key for key in cls.Config.model_fields if key != "path"])) from error
    source: FilesSource = cls(config, config.resolution or resolution)
    return source


def _explained(error: ValidationError, kind: str, known: list[str]) -> str:
    """The first problem in one line."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    guess = nearest(key, known)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{kind} reads no {key!r}; {hint}choices: {', '.join(known)}"


def _values(settings: Sequence[str]) -> dict[str, Any]:
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"cannot read {setting!r}; write key=value")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"cannot read {setting!r}; write key=value") from error
    return values


def spread(size: int, count: int | None) -> list[int]:
    """``count`` indices spread evenly over ``size`` (all of them by default)."""
    if count is None or count >= size:
        return list(range(size))
    return [number * size // count for number in range(count)]
