"""When a run first reached scores that were set beforehand: in samples, FLOPs and seconds of training.

The learning curve gives the crossing, log-linear between snapshots, and the next snapshot must confirm it
(`unimm.analysis.reach`). A run that crossed before its first snapshot, or not by its last, is censored: its cost is
known within bounds only, and stays in every comparison with those bounds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm.analysis.reach import cost_to_reach

# Half of all facts is the target of the studies' claims; 0.3 of whole prompts is what a ten-minute run aims at.
PRESETS = {"atoms/overall": 0.5, "geneval/overall": 0.3}


def reached(curve: Sequence[Mapping[str, Any]], flops_per_sample: float, log: Path) -> list[dict[str, Any]]:
    """The ``efficiency.reached`` of result.json; ``log`` is the run's metrics.jsonl. Empty without a curve."""
    if len(curve) < 2:
        return []
    samples = [point["samples"] for point in curve]
    seconds = _clock(log)
    found = []
    for name, target in PRESETS.items():
        cost = cost_to_reach(samples, [point["scores"][name] for point in curve], target)
        found.append(
            {
                "score": name,
                "target": target,
                "samples": _bounds(cost.low, cost.high, lambda count: count),
                "flops": _bounds(cost.low, cost.high, lambda count: count * flops_per_sample),
                "seconds": _bounds(cost.low, cost.high, seconds),
            }
        )
    return found


def _bounds(low: float, high: float, cost: Callable[[float], float]) -> dict[str, float | None]:
    return {"low": cost(low), "high": cost(high) if math.isfinite(high) else None}


def _clock(log: Path) -> Callable[[float], float]:
    """Training seconds by samples, linear between the log's rows."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    samples, seconds = ([0.0, *(row[key] for row in rows)] for key in ("samples", "seconds"))
    return lambda count: float(np.interp(count, samples, seconds))
