"""The plain training loop of the foundation's parts: AdamW, warm-up, cosine decay over a number of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm


class Cost(NamedTuple):
    """What training a part took."""

    steps: int
    samples: int
    seconds: float
    loss: float


def fit(
    name: str,
    model: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    batch_size: int,
    steps: int,
    learning_rate: float = 1e-3,
    warmup: int = 100,
) -> Cost:
    """Minimise ``loss_of_step(step)`` ``steps`` times; raises FloatingPointError on a NaN loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    started, smooth = time.monotonic(), math.nan
    bar = tqdm(range(steps), desc=name, unit="step", mininterval=5)
    for step in bar:
        progress = step / steps
        rate = learning_rate * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is not finite at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    model.eval()
    return Cost(steps, steps * batch_size, time.monotonic() - started, smooth)
