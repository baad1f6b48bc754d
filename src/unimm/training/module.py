"""The Lightning module: one step of generation (and of understanding, where the strategy asks for it).

Nothing here decides anything that matters: objectives, heads and strategies are plain torch elsewhere. Order, noise
and dropout are functions of (seed, step, sample), so a resumed run repeats a straight one bit by bit on one device.

A process trains on its shares of a step's batch, and gradients are averaged over all shares of all ranks. Their losses
are weighted so that this average is the gradient of the whole batch's mean: equal shares of images by one, questions by
how many tokens of all those covered in the step a share has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unimm.backbones.causal_lm import Row, answer_loss, by_length, conditions_of, summed_loss, total_weight
from unimm.components import Backbone, Head, Mix, Objective, weights_hash
from unimm.noise import NoiseSource
from unimm.schema import TrainingConfig
from unimm.seam_checks import check_loss
from unimm.training.distributed import ALONE, Ranks
from unimm.training.sharding import frozen_names, shard, whole
from unimm.training.step_data import StepData

LOSSES = ("generation_loss", "understanding_loss", "loss")
Asked = tuple[list[Row], Tensor | None]


def not_finite(what: str, step: int) -> str:
    """The message for a user whose training diverged."""
    return (
        f"{what} is not finite at step {step}; the last checkpoint is kept: lower training.learning_rate or "
        "training.gradient_clip, then start again with --overwrite"
    )


@contextmanager
def held(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within: gradients of what is computed pass these parameters by, as if they were frozen."""
    free = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for parameter in free:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


class Endless(torch.utils.data.IterableDataset[int]):
    """Ticks for ever: what a step trains on is looked up by the optimiser's step number, so no loader holds state."""

    def __iter__(self) -> Iterator[int]:
        return itertools.repeat(0)


class ArmModule(L.LightningModule):
    """Backbone and head under one objective and a strategy's mix."""

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        objective: Objective,
        mix: Mix,
        config: TrainingConfig,
        data: StepData,
        world: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.objective, self.mix, self.config, self.data = objective, mix, config, data
        self.world, self.sharded = world, False
        backbone.set_trainable(mix.train_backbone)
        self.frozen_hash = ""
        self.latest: dict[str, float] = {}
        self._sums = dict.fromkeys(LOSSES, 0.0)
        self._asked: list[Asked] = []
        self._asked_weight = 0.0

    def configure_model(self) -> None:
        """Lightning's hook: hash what stays as it is, and split the model over ranks if the strategy has a mesh."""
        self.frozen_hash = self.frozen_hash or weights_hash(self, frozen_names(self))
        if self._device_mesh is not None and not self.sharded:
            for part in (self.backbone, self.head):
                shard(part, self._device_mesh["data_parallel"])
            self.sharded = True

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        number = batch_idx % len(self.data.shares)
        total, losses = self.losses(self.trainer.global_step, number)
        for name, value in {**losses, "loss": total}.items():
            self._sums[name] += float(value.detach())
        if number == len(self.data.shares) - 1:
            self._finish_losses()
        return total

    def _finish_losses(self) -> None:
        """``latest``: the whole batch's losses, which are the means of all shares'."""
        sums, shares = self.world.sum(list(self._sums.values())), len(self.data.shares) * self.world.ranks
        self.latest = {name: value / shares for name, value in zip(LOSSES, sums, strict=True)}
        if not (self.mix.understanding_weight and self._asked_weight):
            del self.latest["understanding_loss"]
        self._sums = dict.fromkeys(LOSSES, 0.0)

    def losses(self, step: int, number: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of share ``number`` of global batch ``step``, and its parts by name."""
        losses = {"generation_loss": self.generation_loss(step, number)}
        total = self.mix.generation_weight * losses["generation_loss"]
        if self.mix.understanding_weight:
            understanding = self.understanding_loss(step, number)
            if understanding is not None:
                losses["understanding_loss"] = understanding
                total = total + self.mix.understanding_weight * understanding
        return total, losses

    def understanding_loss(self, step: int, number: int) -> Tensor | None:
        """A share's part of the weighted mean over all answers' tokens in the step, times the number of shares; None
        where the share has no question."""
        if number == 0:
            self._asked = [self.data.understanding(step, share) for share in range(len(self.data.shares))]
            (self._asked_weight,) = self.world.sum([total_weight(row for rows, _ in self._asked for row in rows)])
        rows, images = self._asked[number]
        if not rows:
            return None
        self._note(rows)
        shares = self.data.shares[number].parts
        if self.sharded:  # ranks have to gather the same layers equally often
            return shares * summed_loss(self.backbone, rows, images) / self._asked_weight
        return shares * answer_loss(self.backbone, rows, images, self._asked_weight)

    def _note(self, rows: list[Row]) -> None:
        """Count the passes that rows about images take: ranks that share layers pad all rows to the longest."""
        groups = [list(range(len(rows)))] if self.sharded else by_length(rows)
        for kind, group in zip(("short rows", "long rows"), groups, strict=False):
            own = [rows[i] for i in group]
            self.data.passes.understanding(kind, len(own), max(len(r.ids) for r in own), max(r.answer for r in own))

    def generation_loss(self, step: int, number: int = 0) -> Tensor:
        """The objective's loss on share ``number`` of global batch ``step``."""
        prompts, latents, keys = self.data.generation(step, number)
        self.data.passes.generation([caption.kind for caption in self.data.seen.captions], max(map(len, prompts)))
        return self.loss_on(prompts, latents, keys)

    def loss_on(self, prompts: list[list[int]], latents: Float[Tensor, "b n d"], keys: list[int]) -> Tensor:
        """The objective's loss on samples, whose noise the keys name."""
        conditions = self.conditions(prompts)
        noise = NoiseSource(self.data.seed, "training", 0)
        loss = self.objective.loss(self.head, latents.to(self.device), conditions, noise, keys)
        check_loss(self.objective, loss)
        return loss

    def conditions(self, prompts: list[list[int]]) -> Float[Tensor, "b q h"]:
        """Query states of prompts, through which generation trains queries and, where the mix says so, the backbone."""
        if self.mix.generation_gradient:
            return conditions_of(self.backbone, prompts)
        with held(self.backbone.core_parameters()):
            return conditions_of(self.backbone, prompts)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Lightning's hook. Its own way refuses fused optimisers under bfloat16, which needs no scaler.

        Raises:
            ValueError: a gradient is not finite; the parameters have not seen it.
        """
        assert gradient_clip_val is not None
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm = float(whole(torch.nn.utils.clip_grad_norm_(trained, gradient_clip_val)))
        self.latest["gradient_norm"] = norm
        if not math.isfinite(norm):
            raise ValueError(not_finite("a gradient", self.trainer.global_step + 1))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trained = [p for p in self.parameters() if p.requires_grad]
        matrices, others = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.95), fused=True)
        warmup = self.config.warmup_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / (warmup + 1)))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def trained_state(self) -> dict[str, Tensor]:
        """The parameters that this run trains, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook: frozen weights are known by their hash."""
        for name in frozen_names(self):
            checkpoint["state_dict"].pop(name, None)
        checkpoint["frozen"] = self.frozen_hash

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook: put the frozen weights back, which an old checkpoint has itself, and count micro-batches
        as this run cuts its steps.

        Raises:
            ValueError: the frozen weights are not those that the checkpoint was trained with.
        """
        if checkpoint.get("frozen", self.frozen_hash) != self.frozen_hash:
            raise ValueError(
                "the checkpoint was trained beside other frozen weights: the foundation or a pretrained part has "
                "changed since; bring it back, or start again with --overwrite"
            )
        own = self.state_dict()
        for name in frozen_names(self):
            checkpoint["state_dict"].setdefault(name, own[name])
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        ready = checkpoint["global_step"] * len(self.data.shares)
        for counts in (progress["total"], progress["current"]):
            counts.update(completed=ready - counts["ready"] + counts["completed"], ready=ready)
            counts.update(started=ready, processed=ready)
