"""Look through a data set: how many samples, which formats and sizes, how long captions are, what cannot be used.

The set is opened by its path: what lies there says which source reads it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from tqdm import tqdm

from unimm.config_errors import first_problem
from unimm.data.decode import decode, read_header
from unimm.data.files_source import FilesSource
from unimm.data.hf_disk import SPLITS, STATE
from unimm.data.source import Unusable
from unimm.registry import sources
from unimm.strict_yaml import setting

TRACES = {
    "shards": ("**/*.tar",),
    "hf_disk": (STATE, SPLITS),
    "folder": ("*.jsonl",),
}
RESOLUTION = 64
SHOWN = 5


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
        raise ValueError(
            first_problem(error, kind, [key for key in cls.Config.model_fields if key != "path"])
        ) from error
    source: FilesSource = cls(config, config.resolution or resolution)
    return source


def _values(settings: Sequence[str]) -> dict[str, Any]:
    return dict(map(setting, settings))


def spread(size: int, count: int | None) -> list[int]:
    """``count`` indices spread evenly over ``size`` (all of them by default)."""
    if count is None or count >= size:
        return list(range(size))
    return [number * size // count for number in range(count)]


def inspect(source: FilesSource, count: int | None = None) -> dict[str, Any]:
    """Facts about ``count`` samples spread evenly over the set; each one's image is decoded as training would."""
    indices = spread(len(source), count)
    formats: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    measured: dict[str, list[int]] = defaultdict(list)
    unusable: dict[str, list[str]] = defaultdict(list)
    for index in tqdm(indices, desc="inspecting", unit="sample"):
        try:
            image, texts = source.image_bytes(index), source.texts(index)
            header = read_header(image)
            decode(image, source.resolution, source.config.limits)
        except Unusable as problem:
            unusable[problem.reason].append(f"{source.key(index)}: {problem}")
            continue
        formats[header.format] += 1
        for name, value in (("width", header.width), ("height", header.height), ("bytes", len(image))):
            measured[name].append(value)
        measured["questions"].append(len(texts.questions))
        for kind in ("short", "long", "plain"):
            measured[f"words of {kind} captions"] += [len(text.split()) for text in getattr(texts, kind)]
            measured[f"characters of {kind} captions"] += [len(text) for text in getattr(texts, kind)]
        origins.update([texts.origin] if texts.origin else [])
    return {
        "name": source.name,
        "samples": len(source),
        "parts": source.parts(),
        "inspected": len(indices),
        "usable": sum(formats.values()),
        "formats": dict(formats),
        "captions_from": dict(origins),
        "measured": {name: _summary(values) for name, values in measured.items() if any(values)},
        "unusable": {
            reason: {"count": len(found), "examples": found[:SHOWN]} for reason, found in sorted(unusable.items())
        },
    }


def _summary(values: Sequence[int]) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.0, 0.5, 1.0]).tolist()
    return {"n": len(values), "min": low, "median": median, "mean": float(np.mean(values)), "max": high}


def lines(facts: dict[str, Any]) -> list[str]:
    """The facts as text."""
    shown = [
        facts["name"],
        f"samples    {facts['samples']} ({facts['inspected']} inspected, {facts['usable']} of them usable)",
        f"formats    {', '.join(f'{name} {count}' for name, count in facts['formats'].items()) or 'none'}",
    ]
    left_out = {k: v for part in facts["parts"] for k, v in part.get("left_out_of_index", {}).items()}
    shown += [f"left out   {count} with {reason}" for reason, count in left_out.items()]
    shown += [
        f"{name}: min {row['min']:.0f}, median {row['median']:.0f}, mean {row['mean']:.1f}, max {row['max']:.0f} "
        f"(n = {row['n']})"
        for name, row in facts["measured"].items()
    ]
    shown += [f"captions   {count} from {origin}" for origin, count in sorted(facts["captions_from"].items())]
    for reason, found in facts["unusable"].items():
        shown.append(f"unusable   {found['count']} {reason}")
        shown += [f"  {example}" for example in found["examples"]]
    return shown
