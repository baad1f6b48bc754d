"""What a run costs: FLOPs of training and of sampling, seconds an image, peak memory.

FLOPs are counted on a few real steps (`unimm.evaluation.flops`) and averaged, since captions differ in length; the
frozen backbone's forward pass counts, what a cache saved (the encoder's latents) does not. What the foundation's parts
cost stands in its card.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm.evaluation.flops import count_flops
from unimm.generation.pipeline import Pipeline
from unimm.noise import NoiseSource
from unimm.training.device import autocast
from unimm.training.module import ArmModule
from unimm.training.reached import reached

COUNTED_STEPS = 8
COUNTED_IMAGES = 4


def training_flops(module: ArmModule) -> float:
    """FLOPs of forward and backward pass a generation sample, over the first steps; leaves no gradients behind."""
    module.train()
    counted = min(COUNTED_STEPS, module.config.steps)

    def steps() -> None:
        for step, share in itertools.product(range(counted), range(len(module.data.shares))):
            with autocast(module.config, module.device):
                loss = module.losses(step, share)[0]
            loss.backward()

    flops = count_flops(steps)
    module.zero_grad(set_to_none=True)
    module.eval()
    return flops / (counted * module.config.batch_size)


def sampling_flops(pipeline: Pipeline, prompts: list[str]) -> float:
    """FLOPs an image, from prompt to pixels."""
    few = prompts[:COUNTED_IMAGES]
    keys = [str(number) for number in range(len(few))]
    return count_flops(lambda: pipeline(few, keys, NoiseSource(0, "flops"))) / len(few)


def completed(
    spent: Mapping[str, Any], seconds_per_image: float, curve: Sequence[Mapping[str, Any]], log: Path
) -> dict[str, Any]:
    """``efficiency`` with what only scoring can tell: seconds an image, and when preset scores were reached."""
    return {
        **spent,
        "sampling_seconds_per_image": seconds_per_image,
        "reached": reached(curve, spent["train_flops_per_sample"], log),
    }


def efficiency(module: ArmModule, pipeline: Pipeline, prompts: list[str], peak_memory: int) -> dict[str, Any]:
    """The ``efficiency`` of result.json, as far as it is known before scoring."""
    per_sample = training_flops(module)
    return {
        "train_flops_per_sample": per_sample,
        "train_flops": per_sample * module.config.steps * module.config.batch_size,
        "sampling_flops_per_image": sampling_flops(pipeline, prompts),
        "peak_memory_bytes": peak_memory,
    }
