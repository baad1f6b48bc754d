"""Lightning's trainer for a run: one process, or the ranks of a world.

Notices of libraries that a user can do nothing about stay off the terminal; everything else is shown.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, Strategy

from unimm.components import Mix
from unimm.schema import TrainingConfig
from unimm.training.distributed import Ranks, launcher, uses_bf16
from unimm.training.sharding import Sharded


def build_trainer(
    settings: TrainingConfig, mix: Mix, world: Ranks, device: torch.device, callbacks: list[L.Callback]
) -> L.Trainer:
    """The trainer; it only trains: data, logs and checkpoints are the module's and the callbacks'."""
    environment = launcher()
    return L.Trainer(
        accelerator=device.type,
        devices=world.ranks_a_node,
        num_nodes=world.ranks // world.ranks_a_node,
        strategy=_strategy(settings, mix, world),
        plugins=None if environment is None else [environment],
        precision="bf16-mixed" if uses_bf16(settings, device) else "32-true",
        max_steps=settings.steps,
        max_epochs=-1,
        accumulate_grad_batches=settings.gradient_accumulation_steps,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _strategy(settings: TrainingConfig, mix: Mix, world: Ranks) -> Strategy | str:
    if world.ranks == 1:
        return "auto"
    if settings.distributed == "fsdp2":
        return Sharded(world.ranks)
    # A step may ask too few questions for every rank to have one, and generation alone uses no output matrix.
    return DDPStrategy(find_unused_parameters=mix.train_backbone)


def check_batch(settings: TrainingConfig, world: Ranks) -> None:
    """ValueError where ranks and micro-batches cannot have equal parts of a step, or nothing can be split."""
    parts = world.ranks * settings.gradient_accumulation_steps
    if settings.batch_size % parts:
        raise ValueError(
            f"training.batch_size={settings.batch_size} cannot be split over {world.ranks} ranks x "
            f"{settings.gradient_accumulation_steps} micro-batches: choose a multiple of {parts}"
        )
    if settings.distributed == "fsdp2" and world.ranks == 1:
        raise ValueError(
            "training.distributed=fsdp2 shares the model among ranks, and there is one: start several with torchrun "
            "or srun, or leave it at ddp"
        )


def check_questions(settings: TrainingConfig, mix: Mix, world: Ranks, fewest: int) -> None:
    """ValueError where a split model has nothing to do on some rank; ``fewest``: questions of the step with fewest."""
    parts = world.ranks * settings.gradient_accumulation_steps
    if settings.distributed == "fsdp2" and mix.understanding_weight and fewest < parts:
        raise ValueError(
            f"training.distributed=fsdp2 needs a question for every rank and micro-batch of a step ({parts}), and some "
            f"steps have {fewest}: raise strategy.understanding_samples, or use training.distributed=ddp"
        )


def check_gradients(settings: TrainingConfig, mix: Mix) -> None:
    """ValueError where generation has to pass a split backbone by: FSDP2 keeps some layers whole from the one pass to
    the next, and these would miss the gradient of the other."""
    if settings.distributed == "fsdp2" and not mix.generation_gradient:
        raise ValueError(
            "training.distributed=fsdp2 cannot keep generation's gradient from a backbone that trains on questions: "
            "use training.distributed=ddp"
        )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Within: no advertisements and device lines of Lightning, none of its notes on how it is used here."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's own use of torch, and modules that are frozen on purpose.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated")
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        try:
            yield
        finally:
            logger.setLevel(level)
