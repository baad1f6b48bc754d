"""Arms that train in stages, as pretraining and then instruction tuning: each stage is a run in a folder of its own.

Every stage but the first starts from the averaged final weights of the one before, with fresh optimiser state and
another stream of order, captions and noise; latents keep the statistics of the first stage's images. A stage that has
a result is done, so that an arm goes on in the stage where it was stopped. Several ranks stay together over all of
them: the first scores each stage while the others wait. The arm's own ``result.json`` comes last:
the scores and samples of the last stage, what all of them cost, and what each did.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from unimm.config import read
from unimm.devices import pick_device
from unimm.files import METRICS, parse_json, read_text, write_atomic
from unimm.runs import job
from unimm.runs.cost import reached
from unimm.runs.outcome import claim
from unimm.runs.record import (
    CONFIG,
    ITEMS,
    RESULT,
    Counts,
    CurvePoint,
    Efficiency,
    Invariants,
    Result,
    Speed,
    StageRecord,
    read_record,
    write_result,
)
from unimm.runs.run import Run, hand_over
from unimm.schema import RunConfig, check_chosen
from unimm.training import distributed
from unimm.training.distributed import Ranks, StageOver


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


def run(
    config: RunConfig,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    extend: bool = False,
    track: Sequence[str] = (),
) -> Result:
    """Train, sample and score one arm, stage by stage if it has any; returns what ``result.json`` holds.

    ``extend`` and ``track`` are those of `unimm.runs.job.run`.
    """
    if not config.stages:
        return job.run(config, out, resume, overwrite, extend, track)
    if extend:
        raise ValueError("--extend: an arm with stages has a length for each, and cannot be lengthened")
    check_chosen(config)
    world = distributed.join(pick_device(config.training.device))
    with ExitStack() as claimed:
        with world.together():
            if world.first:
                claimed.enter_context(claim(config, out, resume, overwrite))
        stages, left = stage_configs(config), False
        folders = {name: out / name for name in stages}
        for earlier, (name, settings) in zip((None, *folders.values()), stages.items(), strict=False):
            (done,) = world.sum([world.first and (folders[name] / RESULT).exists()])
            if not done:
                left = name == list(stages)[-1]  # the ranks but the first leave when the last stage is trained
                _train(settings, folders[name], earlier, replace(world, stay=not left), track)
        if not left:
            world.leave()
        return join(config, out)


def _train(settings: RunConfig, folder: Path, earlier: Path | None, world: Ranks, track: Sequence[str]) -> None:
    """Make one stage, on from the one in the folder ``earlier``; ranks but the first return while it is scored."""
    with ExitStack() as claimed:
        with world.together():
            if world.first:
                claimed.enter_context(_claim(settings, folder))
                if earlier is not None:
                    hand_over(earlier, folder)
        with suppress(StageOver):
            job.run(settings, folder, resume=True, track=track, world=world)


def score(run_dir: Path) -> Result:
    """Score a finished run again, every stage of it, from its saved weights under the same protocol."""
    if not (run_dir / CONFIG).is_file():
        return job.score(run_dir)  # which says what the folder is not
    config = read(run_dir / CONFIG)
    if not config.stages:
        return job.score(run_dir)
    for name in config.stages:
        Run.finished(run_dir / name)  # all of them, before the first one is scored
    for name in config.stages:
        job.score(run_dir / name)
    return join(config, run_dir)


def _claim(config: RunConfig, folder: Path) -> AbstractContextManager[None]:
    """Make the stage's folder, also where a kill left one half-made."""
    if folder.exists() and not (folder / CONFIG).exists():
        shutil.rmtree(folder)
    return claim(config, folder, resume=True, overwrite=False)


def join(config: RunConfig, out: Path) -> Result:
    """Write the arm's own files from its stages' and return what ``result.json`` holds, which comes last."""
    folders = [out / name for name in config.stages]
    stages = [read_record(folder / RESULT, Result) for folder in folders]
    shutil.copytree(folders[-1] / "samples", out / "samples", dirs_exist_ok=True)
    write_atomic(out / ITEMS, (folders[-1] / ITEMS).read_bytes())
    write_atomic(out / METRICS, _log([folder / METRICS for folder in folders], stages))
    curve = _curve(stages)
    unchanged = all(stage.invariants.backbone_unchanged for stage in stages)
    result = stages[-1].model_copy(
        update={
            "arm": config.name,
            "started": stages[0].started,
            "counts": _counts(stages),
            "speed": _speed(stages),
            "curve": curve,
            "efficiency": _efficiency(stages, curve, out / METRICS),
            "invariants": Invariants(backbone_unchanged=True if unchanged else None),
            # Each stage compares with what it started from; only if none changed anything is that the arm's own start.
            "retention": stages[-1].retention if unchanged else None,
            "config": config.model_dump(mode="json"),
            "stages": [_record(name, stage) for name, stage in zip(config.stages, stages, strict=True)],
        }
    )
    write_result(result, out)
    return result


def _record(name: str, result: Result) -> StageRecord:
    """What the arm's result says of one stage; all else stands in the stage's own."""
    settings = RunConfig.model_validate(result.config)
    return StageRecord(
        name=name,
        source=settings.source.name,
        strategy=settings.strategy.name,
        learning_rate=settings.training.learning_rate,
        counts=result.counts,
        train_flops=_spent(result).train_flops,
        train_seconds=result.speed.train_seconds,
        scores=result.scores,
        data=result.data,
    )


def _spent(result: Result) -> Efficiency:
    assert result.efficiency is not None, "every version that had stages noted what they cost"
    return result.efficiency


def _counts(stages: Sequence[Result]) -> Counts:
    """Samples and steps of all stages; what the foundation's backbone saw before them counts once."""
    each = [stage.counts for stage in stages]
    again = sum(counts.understanding_before or 0 for counts in each[1:])
    return Counts(
        generation_samples=sum(counts.generation_samples for counts in each),
        understanding_samples=sum(counts.understanding_samples for counts in each) - again,
        steps=sum(counts.steps for counts in each),
        understanding_before=each[0].understanding_before,
    )


def _speed(stages: Sequence[Result]) -> Speed:
    each = [stage.speed for stage in stages]
    train = sum(speed.train_seconds or 0 for speed in each)
    waited = sum((speed.data_wait_fraction or 0) * (speed.train_seconds or 0) for speed in each)
    samples = sum(stage.counts.generation_samples for stage in stages)
    return Speed(
        samples_per_second=samples / max(train, 1e-9),
        train_seconds=train,
        score_seconds=sum(speed.score_seconds or 0 for speed in each),
        wall_seconds=sum(speed.wall_seconds or 0 for speed in each),
        data_wait_fraction=waited / max(train, 1e-9),
    )


def _efficiency(stages: Sequence[Result], curve: list[CurvePoint], log: Path) -> Efficiency:
    """Costs of all stages; FLOPs a sample are their mean, so that curves read costs within a stage as if it were."""
    each = [_spent(stage) for stage in stages]
    flops = sum(spent.train_flops for spent in each)
    per_sample = flops / sum(stage.counts.generation_samples for stage in stages)
    counted = all(spent.passes for spent in each)
    return each[-1].model_copy(
        update={
            "train_flops": flops,
            "train_flops_per_sample": per_sample,
            "peak_memory_bytes": max(spent.peak_memory_bytes for spent in each),
            "reached": reached(curve, per_sample, log),
            "passes": [made for spent in each for made in spent.passes] if counted else [],
        }
    )


def _before(stages: Sequence[Result]) -> list[tuple[int, int]]:
    """Steps and samples of all stages before each one."""
    steps = itertools.accumulate((stage.counts.steps for stage in stages), initial=0)
    samples = itertools.accumulate((stage.counts.generation_samples for stage in stages), initial=0)
    return list(zip(steps, samples, strict=True))[: len(stages)]


def _curve(stages: Sequence[Result]) -> list[CurvePoint]:
    """The curves of all stages one after the other, over samples and steps in all."""
    return [
        point.model_copy(update={"step": point.step + steps, "samples": point.samples + samples})
        for stage, (steps, samples) in zip(stages, _before(stages), strict=True)
        for point in stage.curve
    ]


def _log(files: Sequence[Path], stages: Sequence[Result]) -> str:
    """The training logs of all stages as one."""
    lines, seconds = [], 0.0
    for file, stage, (steps, samples) in zip(files, stages, _before(stages), strict=True):
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            row = parse_json(line, f"{file}, line {number}", "delete that line")
            row["step"] += steps
            row["samples"] += samples
            row["seconds"] = round(row["seconds"] + seconds, 3)
            lines.append(json.dumps(row) + "\n")
        seconds += stage.speed.train_seconds or 0
    return "".join(lines)
