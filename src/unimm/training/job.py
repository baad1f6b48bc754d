"""One run from start to finish: prepare the folder, train, average, check invariants, score, write result and page.

The truth of a run is its folder; ``result.json`` is written last, so a folder without it is unfinished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from safetensors.torch import load_file

from unimm.components import parameter_count
from unimm.config import read
from unimm.data.source import Source
from unimm.files import write_json
from unimm.scenes.prompts import prompt_set
from unimm.schema import RunConfig, TrainingConfig
from unimm.training import data_card
from unimm.training.assemble import Arm, assemble, open_source, step_data
from unimm.training.callbacks import Checkpoint, ExpectedTime, FiniteLoss, JsonLines, MovingAverage, StopOnSignals
from unimm.training.data_card import DataCard
from unimm.training.device import pick_device
from unimm.training.efficiency import efficiency
from unimm.training.folder import prepare
from unimm.training.measure import Earlier, measure
from unimm.training.module import ArmModule, Endless
from unimm.training.outcome import counts, describe
from unimm.training.probe import before_training, check_frozen, is_frozen, probe
from unimm.training.quiet import quiet_lightning
from unimm.training.resolution import resolution_scaling
from unimm.training.start import begin


class Interrupted(Exception):
    """Training was stopped by a signal; the checkpoint is written."""


def run(config: RunConfig, out: Path, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train, sample and score one arm without stages; returns what ``result.json`` holds."""
    started, clock = datetime.now(UTC), time.monotonic()
    device = pick_device(config.training.device)
    arm = assemble(config)
    source = open_source(config, arm.foundation)
    prepare(config, out, resume, overwrite)
    begin(arm, out)
    before = before_training(config, arm, device)
    trained, log = train(config, arm, source, out, device)
    load_average(trained, final_average(out))
    unchanged = check_frozen(before, probe(config, arm, device)) if before and is_frozen(arm) else None
    prompts = [str(p["prompt"]) for p in prompt_set(arm.foundation.world, "validation", 1)]
    spent = efficiency(trained, arm.pipeline(), prompts, device)
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
) -> tuple[ArmModule, JsonLines]:
    """Fit with Lightning, resuming from ``last.ckpt`` if the folder has one; keeps other ``averages`` meanwhile."""
    settings = config.training
    data = step_data(config, arm, device, source)
    module = ArmModule(arm.backbone, arm.head, arm.objective, arm.strategy.stages()[0], settings, data)
    if settings.compile:
        arm.head.compile()
    log = JsonLines(out / "metrics.jsonl", settings.batch_size)
    average = MovingAverage(settings.ema_decay, out / "averages", settings.steps, settings.snapshots)
    card = DataCard(out / data_card.FILE, data)
    checkpoint = out / "last.ckpt"
    resume = checkpoint.exists()
    start = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]) if resume else 0
    callbacks = [
        TQDMProgressBar(refresh_rate=20),
        FiniteLoss(),
        ExpectedTime(),
        StopOnSignals(),
        log,
        average,
        card,
        *averages,
        Checkpoint(checkpoint, settings.checkpoint_every_steps),
    ]
    loader = torch.utils.data.DataLoader(Endless(), batch_size=None)
    if start < settings.steps:
        with quiet_lightning():
            trainer = _trainer(settings, device, callbacks)
            trainer.fit(module, loader, ckpt_path=checkpoint if resume else None, weights_only=True)
        if trainer.global_step < settings.steps:
            raise Interrupted(f"stopped at step {trainer.global_step} of {settings.steps}; continue with --resume")
        average.save(final_average(out))
    else:
        _restore(checkpoint, log, card)
    log.waited += card.seconds_waited
    arm.decoder.to(device)
    return module.to(device).eval(), log


def _trainer(settings: TrainingConfig, device: torch.device, callbacks: list[L.Callback]) -> L.Trainer:
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")
    return L.Trainer(
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if bf16 else "32-true",
        max_steps=settings.steps,
        max_epochs=-1,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


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
