"""Look through a data set: how many samples, which formats and sizes, how long captions are, what cannot be used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from unimm.curation.opening import spread
from unimm.data.decode import decode, read_header
from unimm.data.files_source import FilesSource
from unimm.data.source import Unusable

SHOWN = 5


def inspect(source: FilesSource, count: int | None = None) -> dict[str, Any]:
    """Facts about ``count`` samples spread evenly over the set; each one's image is decoded as training would."""
    indices = spread(len(source), count)
    formats: Counter[str] = Counter()
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
    return {
        "name": source.name,
        "samples": len(source),
        "parts": source.parts(),
        "inspected": len(indices),
        "usable": sum(formats.values()),
        "formats": dict(formats),
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
    for reason, found in facts["unusable"].items():
        shown.append(f"unusable   {found['count']} {reason}")
        shown += [f"  {example}" for example in found["examples"]]
    return shown
