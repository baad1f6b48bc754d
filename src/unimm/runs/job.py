"""One run from start to finish: prepare the folder, train, average, check invariants, score, write result and page.

The truth of a run is its folder; ``result.json`` is written last, so a folder without it is unfinished. Where several
ranks train, the first one alone writes files, and scores when the others have left.

Everything about a trained run that takes sampling: scores, retention, learning curve, and what scores cost.

Weights that a run starts from, where it goes on from an earlier stage: ``start.safetensors`` in its folder.

The file holds all that was trained so far, which may be more than the run itself trains: its own averaged weights are
only half of it without these.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.arm import Arm, assemble, open_source
from unimm.components import parameter_count
from unimm.config import read
from unimm.data.source import Source
from unimm.devices import peak_memory, pick_device
from unimm.files import replace, write_json
from unimm.runs.cost import completed, efficiency, resolution_scaling
from unimm.runs.outcome import counts, describe, prepare, save_grid, save_items
from unimm.runs.scoring import learning_curve, score_arm
from unimm.runs.understanding import Probe, before_training, check_frozen, is_frozen, probe, retained
from unimm.scenes.prompts import prompt_set
from unimm.schema import RunConfig
from unimm.training import data_card
from unimm.training.callbacks import Checkpoint, ExpectedTime, FiniteLoss, JsonLines, MovingAverage, StopOnSignals
from unimm.training.data_card import DataCard
from unimm.training.distributed import ALONE, World, join
from unimm.training.module import ArmModule, Endless
from unimm.training.sharding import whole
from unimm.training.step_data import shares, step_data
from unimm.training.trainer import build_trainer, check_batch, check_questions, quiet_lightning


class Earlier(NamedTuple):
    """What was found before scoring: the backbone as it was before training, and ``efficiency`` so far."""

    before: Probe | None
    spent: Mapping[str, Any]


def measure(
    config: RunConfig, arm: Arm, module: ArmModule, earlier: Earlier, out: Path, device: torch.device
) -> dict[str, Any]:
    """Sample and score the trained arm and its snapshots; writes the sample grid and every item's score."""
    scored = score_arm(config, arm, device)
    save_grid(scored, out)
    save_items(scored, out)
    curve = learning_curve(config, arm, module, out, device)
    return {
        **scored.as_result(),
        "retention": retained(arm, earlier.before, scored.answers),
        "curve": curve,
        "efficiency": completed(earlier.spent, scored.seconds_per_image, curve, out / "metrics.jsonl"),
    }


FILE, TRAINED = "start.safetensors", "weights.safetensors"


def hand_over(earlier: Path, later: Path) -> None:
    """Let the run in folder ``later`` start from the averaged final weights of the finished one in ``earlier``."""
    weights = load_file(earlier / FILE) if (earlier / FILE).exists() else {}
    temporary = later / f".{FILE}.{os.getpid()}.tmp"
    save_file(weights | load_file(earlier / TRAINED), temporary)
    replace(temporary, later / FILE)


def begin(arm: Arm, folder: Path) -> None:
    """Put the weights that the run in ``folder`` starts from into its arm; a run of its own starts as it is."""
    if not (folder / FILE).exists():
        return
    weights = load_file(folder / FILE)
    for part, module in (("backbone", arm.backbone), ("head", arm.head)):
        own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        unexpected = module.load_state_dict(own, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"{folder / FILE} holds {unexpected[0]}, which this arm's {part} does not have")


STOPPED = 130


class Interrupted(Exception):
    """Training was stopped by a signal; the checkpoint is written."""


def run(config: RunConfig, out: Path, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train, sample and score one arm without stages; returns what ``result.json`` holds, on the first rank.

    Raises:
        SystemExit: on the other ranks, when nothing is left to do for them.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    device = pick_device(config.training.device)
    world = join(device)
    arm = world.in_turns(lambda: assemble(config))
    source = open_source(config, arm.foundation)
    with world.together():
        if world.first:
            prepare(config, out, resume, overwrite)
    begin(arm, out)
    with world.together():
        before = before_training(config, arm, device) if world.first else None
    trained, log = train(config, arm, source, out, device, world=world)
    load_average(trained, final_average(out))
    unchanged = check_frozen(before, probe(config, arm, device)) if before and is_frozen(arm) else None
    prompts = [str(p["prompt"]) for p in prompt_set(arm.foundation.world, "validation", 1)]
    spent = efficiency(trained, arm.pipeline(), prompts, log.peak_memory)
    samples = config.training.steps * config.training.batch_size
    scoring = time.monotonic()
    measured = measure(config, arm, trained, Earlier(before, spent), out, device)
    score_seconds = time.monotonic() - scoring
    result = {
        **describe(config, arm, device, started),
        **measured,
        "counts": counts(config, arm),
        "parameters": {
            "trainable": parameter_count(trained, True),
            "frozen": parameter_count(trained, False),
        },
        "speed": {
            "samples_per_second": samples / max(log.seconds, 1e-9),
            "train_seconds": log.seconds,
            "score_seconds": score_seconds,
            "wall_seconds": time.monotonic() - clock,
            "data_wait_fraction": log.waited / max(log.seconds, 1e-9),
        },
        "resolution_scaling": resolution_scaling(config, arm, device),
        "invariants": {"backbone_unchanged": unchanged},
        "data": DataCard.summary(out / data_card.FILE),
        "versions": {name: version(name) for name in ("torch", "lightning", "transformers", "diffusers", "unimm")},
        "config": config.model_dump(mode="json"),
    }
    write_json(out / "result.json", result)
    return result


def train(
    config: RunConfig,
    arm: Arm,
    source: Source,
    out: Path,
    device: torch.device,
    averages: Sequence[MovingAverage] = (),
    world: World = ALONE,
) -> tuple[ArmModule, JsonLines]:
    """Fit with Lightning, resuming from ``last.ckpt`` if the folder has one; keeps other ``averages`` meanwhile.

    Only the first rank returns. An arm that was split over ranks is put together again.
    """
    settings, stage = config.training, arm.strategy.stages()[0]
    check_batch(settings, world)
    data = world.in_turns(lambda: step_data(config, arm, device, source))
    check_questions(settings, stage, world, data.fewest_questions)
    data.shares = shares(world.rank, world.ranks, settings.gradient_accumulation_steps)
    module = ArmModule(arm.backbone, arm.head, arm.objective, stage, settings, data, world)
    if settings.compile:
        arm.head.compile()
    log = JsonLines(out / "metrics.jsonl", settings.batch_size, writes=world.first)
    average = MovingAverage(settings.ema_decay, out / "averages", settings.steps, settings.snapshots, world.first)
    card = DataCard(out / data_card.FILE, data, world)
    checkpoint = out / "last.ckpt"
    (found,) = world.sum([checkpoint.exists()])
    if 0 < found < world.ranks:
        raise ValueError(f"{checkpoint} is not seen by every rank: choose an --out on a file system that nodes share")
    resume = bool(found)
    start = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]) if resume else 0
    callbacks = [
        TQDMProgressBar(refresh_rate=20),
        FiniteLoss(world),
        ExpectedTime(),
        StopOnSignals(world),
        log,
        average,
        card,
        *averages,
        Checkpoint(checkpoint, settings.checkpoint_every_steps),
    ]
    loader = torch.utils.data.DataLoader(Endless(), batch_size=None)
    if start < settings.steps:
        with quiet_lightning():
            trainer = build_trainer(settings, stage, world, device, callbacks)
            trainer.fit(module, loader, ckpt_path=checkpoint if resume else None, weights_only=True)
        if trainer.global_step < settings.steps:
            world.leave(STOPPED)
            raise Interrupted(f"stopped at step {trainer.global_step} of {settings.steps}; continue with --resume")
        average.save(final_average(out))
    else:
        _restore(checkpoint, log, card, average)
        log.peak_memory = log.peak_memory or peak_memory(device)
        if not final_average(out).exists():  # killed between the last checkpoint and this file
            average.save(final_average(out))
    log.waited += card.seconds_waited
    state = {name: whole(value).cpu() for name, value in module.state_dict().items()} if module.sharded else None
    world.leave()
    if state is not None:
        module = put_together(module, state, config, arm)
    module.world, data.shares = ALONE, shares(0, 1, world.ranks * settings.gradient_accumulation_steps)
    arm.decoder.to(device)
    return module.to(device).eval(), log


def put_together(module: ArmModule, state: dict[str, Tensor], config: RunConfig, arm: Arm) -> ArmModule:
    """The module of an arm that was split over ranks, made again from the whole ``state``, frozen weights too."""
    fresh = assemble(config)
    arm.backbone, arm.head = fresh.backbone, fresh.head
    again = ArmModule(arm.backbone, arm.head, arm.objective, module.stage, module.config, module.data)
    again.load_state_dict(state)
    return again


def _restore(checkpoint: Path, *callbacks: L.Callback) -> None:
    """Give callbacks the state that they had when training ended."""
    states = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"]
    for callback in callbacks:
        if callback.state_key in states:
            callback.load_state_dict(states[callback.state_key])


def final_average(out: Path) -> Path:
    """Where the final averaged weights of a run lie."""
    return out / "weights.safetensors"


def load_average(module: ArmModule, path: Path) -> None:
    """Put averaged weights in place of the trained ones."""
    missing, unexpected = module.load_state_dict(load_file(path), strict=False)
    trained = set(module.trained_state())
    assert not unexpected and not trained & set(missing), "the average holds exactly what was trained"


def score(run_dir: Path) -> dict[str, Any]:
    """Score a finished run again from its saved weights, under the same protocol."""
    config = read(run_dir / "config.yaml")
    device = pick_device(config.training.device)
    arm = assemble(config)
    begin(arm, run_dir)
    before = before_training(config, arm, device)
    module = ArmModule(arm.backbone, arm.head, arm.objective, arm.strategy.stages()[0], config.training, None)  # type: ignore[arg-type]
    load_average(module, final_average(run_dir))
    module.to(device).eval()
    arm.decoder.to(device)
    result: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
    result |= measure(config, arm, module, Earlier(before, result["efficiency"]), run_dir, device)
    write_json(run_dir / "result.json", result)
    return result
