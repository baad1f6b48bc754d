"""The Lightning module: one step of generation (and of understanding, where the strategy asks for it).

Nothing here decides anything that matters: objectives, heads and strategies are plain torch elsewhere. Order, noise
and dropout are functions of (seed, step, sample), so a resumed run repeats a straight one bit by bit on one device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, conditions_of
from unimm.components import Head, Objective, Stage
from unimm.foundation.language import answer_loss
from unimm.noise import NoiseSource
from unimm.schema import TrainingConfig
from unimm.training.step_data import StepData


class Endless(torch.utils.data.IterableDataset[int]):
    """Ticks for ever: what a step trains on is looked up by the optimiser's step number, so no loader holds state."""

    def __iter__(self) -> Iterator[int]:
        return itertools.repeat(0)


class ArmModule(L.LightningModule):
    """Backbone and head under one objective and one stage of a strategy."""

    def __init__(
        self,
        backbone: CausalLM,
        head: Head,
        objective: Objective,
        stage: Stage,
        config: TrainingConfig,
        data: StepData,
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.objective, self.stage, self.config, self.data = objective, stage, config, data
        for parameter in backbone.core_parameters():
            parameter.requires_grad_(stage.train_backbone)
        backbone.queries.requires_grad_(True)
        self.latest: dict[str, float] = {}

    def training_step(self, batch: int, batch_idx: int) -> Tensor:
        total, losses = self.losses(self.trainer.global_step)
        self.latest = {name: float(value.detach()) for name, value in losses.items()} | {"loss": float(total.detach())}
        return total

    def losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss of global batch ``step``, and its parts by name."""
        losses = {"generation_loss": self.generation_loss(step)}
        total = self.stage.generation_weight * losses["generation_loss"]
        if self.stage.understanding_weight:
            rows, images = self.data.understanding(step)
            if rows:
                losses["understanding_loss"] = answer_loss(self.backbone, rows, images)
                total = total + self.stage.understanding_weight * losses["understanding_loss"]
        return total, losses

    def generation_loss(self, step: int) -> Tensor:
        """The objective's loss on global batch ``step``."""
        prompts, latents, keys = self.data.generation(step)
        conditions = self.conditions(prompts)
        noise = NoiseSource(self.data.seed, "training", 0)
        return self.objective.loss(self.head, latents.to(self.device), conditions, noise, keys)

    def conditions(self, prompts: list[list[int]]) -> Float[Tensor, "b q h"]:
        """Query states of prompts."""
        return conditions_of(self.backbone, prompts)

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
        """The parameters that this stage trains, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}
