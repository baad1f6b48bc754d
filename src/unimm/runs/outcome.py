"""The ends of a run: claiming its folder before training, and the facts and files that it leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from unimm.arm import understanding_samples
from unimm.config import ConfigError, current, differing, dump, shown
from unimm.devices import device_name
from unimm.evaluation.metrics.geneval import find_objects
from unimm.files import CHECKPOINT, write_atomic
from unimm.runs.gallery import FoundObject, write_gallery
from unimm.runs.record import CONFIG, IMAGES, ITEMS, RESULT, SCHEMA_VERSION, Counts, ItemPrompt, Items, LatentShape
from unimm.runs.run import Run
from unimm.runs.samples import write_sheet
from unimm.runs.scoring import Scored
from unimm.scenes.geneval_rules import evaluate_image
from unimm.scenes.judge import Detection, to_objects
from unimm.scenes.world import World
from unimm.schema import RunConfig
from unimm.strict_yaml import read_yaml

GRID_IMAGES = 36


def describe(run: Run, started: datetime) -> dict[str, Any]:
    """The result's head: which arm, where, from what."""
    config, foundation, spec = run.config, run.arm.foundation, run.arm.encoder.latent_spec()
    return {
        "schema_version": SCHEMA_VERSION,
        "arm": config.name,
        "seed": config.seed,
        "profile": config.profile,
        "world": foundation.world.name,
        "resolution": foundation.resolution,
        "latent_shape": LatentShape(tokens=spec.tokens, channels=spec.channels),
        "settings": config.settings,
        "device": device_name(run.device),
        "started": started,
        "hashes": run.hashes(),
    }


def counts(run: Run) -> Counts:
    """Samples in all: what the foundation's backbone already saw counts as well as this run's own."""
    arm = run.arm
    taught = arm.backbone.of_foundation and arm.strategy.start == "understanding"
    seen = arm.foundation.card["costs"]["understanding"]["samples"] if taught else 0
    return Counts(
        generation_samples=run.samples,
        understanding_samples=seen + understanding_samples(run.mix, arm.foundation),
        steps=run.config.training.steps,
        understanding_before=seen,
    )


def save_grid(scored: Scored, out: Path) -> None:
    """The same prompts for every arm: the first image of evenly spaced prompts, never picked by result."""
    count = min(GRID_IMAGES, len(scored.prompts))
    chosen = [number * len(scored.prompts) // count for number in range(count)]
    prompts, correct = [scored.prompts[index] for index in chosen], scored.correct()
    rows = [
        {"prompt": prompt["prompt"], "tag": prompt["tag"], "correct": correct[index], "index": index}
        for prompt, index in zip(prompts, chosen, strict=True)
    ]
    write_sheet(out, scored.images[chosen].permute(0, 2, 3, 1).cpu().numpy(), rows)


def save_gallery(scored: Scored, world: World, out: Path) -> None:
    """Every image, small, with what the judge finds on the exact one, where a metric asks the judge."""
    judged = any(score.name.startswith("geneval/") for score in scored.scores)
    found = find_objects(scored.images, world) if judged else [[] for _ in scored.prompts]
    rows = [
        {
            "prompt": str(prompt["prompt"]),
            "tag": str(prompt["tag"]),
            "key": key,
            "correct": correct if judged else None,
            "reason": evaluate_image(to_objects(seen), prompt)[1] if judged else "",
            "found": [_found(detection) for detection in seen],
        }
        for prompt, key, correct, seen in zip(scored.prompts, scored.keys, scored.correct(), found, strict=True)
    ]
    write_gallery(out, scored.images.permute(0, 2, 3, 1).cpu().numpy(), rows)


def _found(detection: Detection) -> FoundObject:
    x1, y1, x2, y2 = (round(edge, 1) for edge in detection.box)
    return FoundObject(
        colour=detection.colour, shape=detection.shape, box=(x1, y1, x2, y2), score=round(detection.score, 3)
    )


def save_items(scored: Scored, out: Path) -> None:
    """``items.json``, which paired statistics need; values to four decimals."""
    scores = {s.name: [v if v is None else round(v, 4) for v in s.items] for s in scored.scores if s.items is not None}
    prompts = [ItemPrompt(prompt=str(p["prompt"]), tag=str(p["tag"])) for p in scored.prompts]
    units = {s.name: s.unit for s in scored.scores if s.items is not None and s.unit != IMAGES}
    items = Items(prompts=prompts, scores=scores, units=units)
    write_atomic(out / ITEMS, json.dumps(items.model_dump(mode="json")) + "\n")


EXECUTION = frozenset({"training.gradient_accumulation_steps", "training.distributed"})


@contextmanager
def claim(config: RunConfig, out: Path, resume: bool, overwrite: bool) -> Iterator[None]:
    """`prepare` the folder for the block; a start that fails before it left anything of use takes its claim back.

    Otherwise the next start, with the mistake mended, would be refused for the configuration of the failed one.
    """
    fresh = overwrite or not (out / CONFIG).exists()
    prepare(config, out, resume, overwrite)
    try:
        yield
    except BaseException:
        if fresh and out.is_dir() and {path.name for path in out.iterdir()} <= {CONFIG}:
            (out / CONFIG).unlink(missing_ok=True)
            out.rmdir()
        raise


def prepare(config: RunConfig, out: Path, resume: bool, overwrite: bool) -> None:
    """Claim the output folder; refuses one that holds another run or, without ``resume``, this one."""
    settings = out / CONFIG
    if overwrite and settings.exists():
        shutil.rmtree(out)
    if out.exists() and any(out.iterdir()):
        if not settings.exists():
            raise FileExistsError(f"{out} is not empty and holds no run; choose another --out")
        reason = _differs(config, settings)
        if reason:
            advice = "choose another --out or --overwrite it"
            raise FileExistsError(f"{out} holds a run of another configuration; {advice}: {reason}")
        if not resume:
            raise FileExistsError(f"{out} already holds this run; --resume continues it, --overwrite starts again")
        if not config.stages and (out / RESULT).is_file() and not (out / CHECKPOINT).is_file():
            raise FileExistsError(
                f"{out} is finished, and has no {CHECKPOINT} to go on from; `unimm score {out}` scores it again, "
                "--overwrite starts again"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(settings, dump(config))


def _differs(config: RunConfig, stored: Path) -> str:
    """In which keys the stored configuration does not mean ``config``, or why it cannot be read; empty if it does.

    How ranks share a step is not part of what a run is: it may resume on fewer of them.
    """
    try:
        found = current(read_yaml(stored), stored)
    except ConfigError as error:
        return str(error)
    changes = differing(found, config.model_dump(mode="json"))
    told = (f"{c.key} is {shown(c.before)} there and {shown(c.after)} now" for c in changes if c.key not in EXECUTION)
    return "; ".join(told)
