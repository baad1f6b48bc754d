"""Arms that train in stages, as pretraining and then instruction tuning: each stage is a run in a folder of its own.

Every stage but the first starts from the averaged final weights of the one before, with fresh optimiser state and
another stream of order, captions and noise; latents keep the statistics of the first stage's images. A stage that has
a result is done, so that an arm goes on in the stage where it was stopped. The arm's own ``result.json`` comes last
(`unimm.runs.stages`): the scores of the last stage, what all of them cost, and what each did.

What an arm with stages leaves behind: the last stage's scores and samples, and the costs of all stages together.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm.config import read
from unimm.files import write_atomic, write_json
from unimm.runs import job
from unimm.runs.cost import reached
from unimm.runs.job import hand_over
from unimm.runs.outcome import prepare
from unimm.schema import RunConfig
from unimm.training.distributed import ranks_started

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


def stage_configs(config: RunConfig) -> dict[str, RunConfig]:
    """Every stage as a run of its own, in order."""
    shared = config.model_dump(mode="json")
    first = next(iter(config.stages.values())).source or config.source
    found: dict[str, RunConfig] = {}
    for name, stage in config.stages.items():
        source, strategy = stage.source or config.source, stage.strategy or config.strategy
        share = config.data.long_caption_share if stage.long_caption_share is None else stage.long_caption_share
        data = {
            "long_caption_share": share,
            "seed": stage_seed(config.seed, name) if found else None,
            "statistics_source": first.model_dump(mode="json") if source != first else None,
        }
        own = {
            "name": f"{config.name}.{name}",
            "source": source.model_dump(mode="json"),
            "strategy": strategy.model_dump(mode="json"),
            "data": shared["data"] | data,
            "training": stage.training(config.training).model_dump(mode="json"),
            "stages": {},
        }
        found[name] = RunConfig.model_validate(shared | own)
    return found


def stage_seed(seed: int, name: str) -> int:
    """The seed of a later stage's order, captions and noise: another stream for every stage of every seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest(), "big")


def run(config: RunConfig, out: Path, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train, sample and score one arm, stage by stage if it has any; returns what ``result.json`` holds."""
    if not config.stages:
        return job.run(config, out, resume, overwrite)
    if ranks_started() > 1:
        raise ValueError("an arm with stages trains on one device: several ranks share a run without stages")
    prepare(config, out, resume, overwrite)
    earlier: Path | None = None
    for name, settings in stage_configs(config).items():
        folder = out / name
        if not (folder / "result.json").exists():
            _claim(settings, folder)
            if earlier is not None:
                hand_over(earlier, folder)
            job.run(settings, folder, resume=True)
        earlier = folder
    return join(config, out)


def score(run_dir: Path) -> dict[str, Any]:
    """Score a finished run again, every stage of it, from its saved weights under the same protocol."""
    config = read(run_dir / "config.yaml")
    if not config.stages:
        return job.score(run_dir)
    for name in config.stages:
        job.score(run_dir / name)
    return join(config, run_dir)


def _claim(config: RunConfig, folder: Path) -> None:
    """Make the stage's folder, also where a kill left one half-made."""
    if folder.exists() and not (folder / "config.yaml").exists():
        shutil.rmtree(folder)
    prepare(config, folder, resume=True, overwrite=False)
