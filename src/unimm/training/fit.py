"""Train one arm: the loop with its callbacks, resumed from the last checkpoint, alone or as one of several ranks.

What a step trains on is a function of its number (`unimm.training.step_data`), so that resuming needs the optimiser's
state and a step count, and nothing of a loader. Scoring and everything that comes after is `unimm.runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from unimm.arm import Arm, assemble
from unimm.data.source import Source
from unimm.devices import peak_memory
from unimm.files import AVERAGES, CHECKPOINT, METRICS, WEIGHTS
from unimm.schema import RunConfig
from unimm.training import data_card
from unimm.training.averaging import averaging
from unimm.training.bar import TrainingBar
from unimm.training.callbacks import Checkpoint, FiniteLoss, JsonLines, MovingAverage, StopOnSignals
from unimm.training.compiled import compile_parts
from unimm.training.data_card import DataCard
from unimm.training.distributed import ALONE, Ranks
from unimm.training.module import ArmModule, Endless
from unimm.training.sharding import whole
from unimm.training.step_data import shares, step_data
from unimm.training.trackers import Tracker
from unimm.training.trainer import build_trainer, check_batch, check_gradients, check_questions, quiet_lightning
from unimm.training.validation import validation_loss
from unimm.user_errors import Interrupted

STOPPED = 130


def train(
    config: RunConfig,
    arm: Arm,
    source: Source,
    out: Path,
    device: torch.device,
    averages: Sequence[MovingAverage] = (),
    world: Ranks = ALONE,
    trackers: Sequence[Tracker] = (),
) -> tuple[ArmModule, JsonLines]:
    """Fit with Lightning, resuming from ``last.ckpt`` if the folder has one; keeps other ``averages`` meanwhile, and
    ``trackers`` hold what the log holds.

    Writes ``metrics.jsonl``, snapshots of the average, ``data_card.json``, checkpoints, and the final average as
    ``weights.safetensors``. Only the first rank returns; an arm that was split over ranks is whole again by then.

    Raises:
        Interrupted: a signal ended training early; the checkpoint is written.
        SystemExit: on the other ranks, when nothing is left to do for them.
        ValueError: the batch or its questions cannot be shared among the ranks, or a loss or gradient is not finite.
    """
    settings, mix = config.training, arm.strategy.mix()
    check_batch(settings, world)
    check_gradients(settings, mix)
    data = world.in_turns(lambda: step_data(config, arm, device, source))
    check_questions(settings, mix, world, data.fewest_questions)
    data.shares = shares(world.rank, world.ranks, settings.gradient_accumulation_steps)
    module = ArmModule(arm.backbone, arm.head, arm.objective, mix, settings, data, world)
    if settings.compile:
        compile_parts(arm, device)
    kind = averaging(settings.model_dump())
    average = MovingAverage(kind, out / AVERAGES, settings.steps, settings.snapshots, world.first)
    held_out = validation_loss(config, arm, source, device, [*average.at, settings.steps], data.samples_at_once)
    log = JsonLines(out / METRICS, settings.batch_size, 10, world.first, trackers, held_out)
    card = DataCard(out / data_card.FILE, data, world)
    checkpoint = out / CHECKPOINT
    (found,) = world.sum([checkpoint.exists()])
    if 0 < found < world.ranks:
        raise ValueError(f"{checkpoint} is not seen by every rank: choose an --out on a file system that nodes share")
    resume = bool(found)
    start = int(read_checkpoint(checkpoint)["global_step"]) if resume else 0
    callbacks = [
        TrainingBar(settings.batch_size),
        FiniteLoss(world),
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
            trainer = build_trainer(settings, mix, world, device, callbacks)
            trainer.fit(module, loader, ckpt_path=checkpoint if resume else None, weights_only=True)
        if trainer.global_step < settings.steps:
            world.leave(STOPPED)
            raise Interrupted(f"stopped at step {trainer.global_step} of {settings.steps}; continue with --resume")
        average.save(out / WEIGHTS)
    else:
        _restore(checkpoint, log, card, average)
        log.peak_memory = log.peak_memory or peak_memory(device)
        if not (out / WEIGHTS).exists():  # killed between the last checkpoint and this file
            average.save(out / WEIGHTS)
    log.waited += card.seconds_waited
    arm.backbone.forget()  # what is sampled and counted from here on does not depend on what training kept
    # Gathering takes every rank; only the first one goes on after `leave`.
    state = {name: whole(value).cpu() for name, value in module.state_dict().items()} if module.sharded else None
    world.leave()
    if state is not None:
        module = gathered(module, state, config, arm)
    module.world, data.shares = ALONE, shares(0, 1, world.ranks * settings.gradient_accumulation_steps)
    arm.decoder.to(device)
    return module.to(device).eval(), log


def gathered(module: ArmModule, state: dict[str, Tensor], config: RunConfig, arm: Arm) -> ArmModule:
    """The module of an arm that was split over ranks, made again from the whole ``state``, frozen weights too.

    FSDP2 turns parameters into shards in place, and the other ranks leave before scoring: so the first rank assembles
    the arm's backbone and head anew and fills them.
    """
    fresh = assemble(config)
    arm.backbone, arm.head = fresh.backbone, fresh.head
    again = ArmModule(arm.backbone, arm.head, arm.objective, module.mix, module.config, module.data)
    again.load_state_dict(state)
    return again


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The training state in ``last.ckpt``.

    Raises:
        ValueError: the file is empty, cut short or no checkpoint of a run. unimm replaces it whole, so a copy that
            stopped or a damaged disk did it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of bytes that are no pickle the unpickler may raise anything, down to EOFError
        why = "is cut short or no checkpoint" if path.stat().st_size else "is empty"
        raise ValueError(f"{path} {why}: copy it again, or delete it and --resume trains from the beginning") from error
    if not isinstance(state, dict) or not {"global_step", "callbacks", "state_dict"} <= state.keys():
        raise ValueError(f"{path} is no checkpoint of a run: delete it and --resume trains from the beginning")
    return state


def _restore(checkpoint: Path, *callbacks: L.Callback) -> None:
    """Give callbacks the state that they had when training ended."""
    states = read_checkpoint(checkpoint)["callbacks"]
    for callback in callbacks:
        if callback.state_key in states:
            callback.load_state_dict(states[callback.state_key])
