"""What a finished run leaves behind: the facts about it, its sample grid, and every item's score.

Claim a run's folder: an empty one, or one that holds the same run, whichever unimm stored its configuration.
"""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from unimm.arm import Arm
from unimm.components import weights_hash
from unimm.config import ConfigError, current, differing, dump, shown
from unimm.config_errors import read_yaml
from unimm.devices import device_name
from unimm.files import write_atomic
from unimm.runs.samples import write_sheet
from unimm.runs.scoring import Scored
from unimm.schema import RunConfig
from unimm.training.step_data import understanding_samples

GRID_IMAGES = 36


def describe(config: RunConfig, arm: Arm, device: torch.device, started: datetime) -> dict[str, Any]:
    """The result's head: which arm, where, from what."""
    return {
        "schema_version": 1,
        "arm": config.name,
        "seed": config.seed,
        "profile": config.profile,
        "world": arm.foundation.world.name,
        "resolution": arm.foundation.resolution,
        "settings": config.settings,
        "device": device_name(device),
        "started": started.isoformat(),
        "hashes": latent_hashes(config.encoder.name, arm)
        | {"head": weights_hash(arm.head)[:16], "backbone": weights_hash(arm.backbone)[:16]},
    }


def latent_hashes(encoder: str, arm: Arm) -> dict[str, str]:
    """Hashes of the foundation's parts and of the encoder.

    Where the encoder is such a part and its latents are not what the part's hash says (statistics measured at another
    resolution), their own hash stands beside it as ``latents``.
    """
    own = arm.encoder.latent_spec().fingerprint
    parts = {encoder: own} | {part: arm.foundation.fingerprint(part) for part in arm.foundation.card["costs"]}
    return parts if parts[encoder] == own else {**parts, "latents": own}


def counts(config: RunConfig, arm: Arm) -> dict[str, int]:
    """Samples in all: what the foundation's backbone already saw counts as well as this run's own."""
    steps, batch = config.training.steps, config.training.batch_size
    taught = arm.backbone.of_foundation and arm.strategy.start == "understanding"
    seen = arm.foundation.card["costs"]["understanding"]["samples"] if taught else 0
    understood = seen + understanding_samples(arm)
    return {
        "generation_samples": steps * batch,
        "understanding_samples": understood,
        "steps": steps,
        "understanding_before": seen,
    }


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


def save_items(scored: Scored, out: Path) -> None:
    """``items.json``: the value of every image under every score that has one, which paired statistics need."""
    scores = {s.name: [v if v is None else round(v, 4) for v in s.items] for s in scored.scores if s.items is not None}
    prompts = [{"prompt": p["prompt"], "tag": p["tag"]} for p in scored.prompts]
    write_atomic(out / "items.json", json.dumps({"prompts": prompts, "scores": scores}) + "\n")


EXECUTION = frozenset({"training.gradient_accumulation_steps", "training.distributed"})


def prepare(config: RunConfig, out: Path, resume: bool, overwrite: bool) -> None:
    """Claim the output folder; refuses one that holds another run or, without ``resume``, this one."""
    settings = out / "config.yaml"
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
