"""What an arm with stages leaves behind: the last stage's scores and samples, and the costs of all stages together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm.files import write_atomic, write_json
from unimm.schema import RunConfig
from unimm.training.reached import reached

Results = Mapping[str, dict[str, Any]]


def join(config: RunConfig, out: Path) -> dict[str, Any]:
    """Write the arm's own files from its stages' and return what ``result.json`` holds, which comes last."""
    results = {name: json.loads((out / name / "result.json").read_text(encoding="utf-8")) for name in config.stages}
    stages = list(results.values())
    last = out / list(results)[-1]
    shutil.copytree(last / "samples", out / "samples", dirs_exist_ok=True)
    write_atomic(out / "items.json", (last / "items.json").read_bytes())
    write_atomic(out / "metrics.jsonl", _log([out / name / "metrics.jsonl" for name in results], stages))
    curve = _curve(stages)
    unchanged = [stage["invariants"]["backbone_unchanged"] for stage in stages]
    result = {
        **stages[-1],
        "arm": config.name,
        "started": stages[0]["started"],
        "counts": _counts(stages),
        "speed": _speed(stages),
        "curve": curve,
        "efficiency": _efficiency(stages, curve, out / "metrics.jsonl"),
        "invariants": {"backbone_unchanged": True if all(unchanged) else None},
        # Each stage compares with what it started from; only if none changed anything is that the arm's own start.
        "retention": stages[-1]["retention"] if all(unchanged) else None,
        "config": config.model_dump(mode="json"),
        "stages": [_record(name, stage) for name, stage in results.items()],
    }
    write_json(out / "result.json", result)
    return result


def _record(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the arm's result says of one stage; all else stands in the stage's own."""
    settings = result["config"]
    return {
        "name": name,
        "source": settings["source"]["name"],
        "strategy": settings["strategy"]["name"],
        "learning_rate": settings["training"]["learning_rate"],
        "counts": result["counts"],
        "train_flops": result["efficiency"]["train_flops"],
        "train_seconds": result["speed"]["train_seconds"],
        "scores": result["scores"],
        "data": result["data"],
    }


def _counts(stages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Samples and steps of all stages; what the foundation's backbone saw before them counts once."""
    each = [stage["counts"] for stage in stages]
    keys = ("generation_samples", "understanding_samples", "steps")
    total = {key: sum(counts[key] for counts in each) for key in keys}
    again = sum(counts["understanding_before"] for counts in each[1:])
    before = each[0]["understanding_before"]
    return total | {"understanding_samples": total["understanding_samples"] - again, "understanding_before": before}


def _speed(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    each = [stage["speed"] for stage in stages]
    spent = {key: sum(speed[key] for speed in each) for key in ("train_seconds", "score_seconds", "wall_seconds")}
    waited = sum(speed["data_wait_fraction"] * speed["train_seconds"] for speed in each)
    seconds = max(spent["train_seconds"], 1e-9)
    samples = sum(stage["counts"]["generation_samples"] for stage in stages)
    return {**spent, "samples_per_second": samples / seconds, "data_wait_fraction": waited / seconds}


def _efficiency(stages: Sequence[Mapping[str, Any]], curve: list[dict[str, Any]], log: Path) -> dict[str, Any]:
    """Costs of all stages; FLOPs a sample are their mean, so that curves read costs within a stage as if it were."""
    each = [stage["efficiency"] for stage in stages]
    flops = sum(spent["train_flops"] for spent in each)
    per_sample = flops / sum(stage["counts"]["generation_samples"] for stage in stages)
    return {
        **each[-1],
        "train_flops": flops,
        "train_flops_per_sample": per_sample,
        "peak_memory_bytes": max(spent["peak_memory_bytes"] for spent in each),
        "reached": reached(curve, per_sample, log),
    }


def _before(stages: Sequence[Mapping[str, Any]], number: int, key: str) -> int:
    """Samples or steps of the stages before that one."""
    return int(sum(stage["counts"][key] for stage in stages[:number]))


def _curve(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The curves of all stages one after the other, over samples and steps in all."""
    return [
        point
        | {
            "step": point["step"] + _before(stages, number, "steps"),
            "samples": point["samples"] + _before(stages, number, "generation_samples"),
        }
        for number, stage in enumerate(stages)
        for point in stage["curve"]
    ]


def _log(files: Sequence[Path], stages: Sequence[Mapping[str, Any]]) -> str:
    """The training logs of all stages as one."""
    lines, seconds = [], 0.0
    for number, file in enumerate(files):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            row["step"] += _before(stages, number, "steps")
            row["samples"] += _before(stages, number, "generation_samples")
            row["seconds"] = round(row["seconds"] + seconds, 3)
            lines.append(json.dumps(row) + "\n")
        seconds += stages[number]["speed"]["train_seconds"]
    return "".join(lines)
