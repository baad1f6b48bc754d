"""The learning curve: every averaged snapshot of a run sampled and judged, on validation prompts.

The learning rate is constant after warm-up and snapshots are averages of weights, so that each point is a finished
model at its number of samples (no schedule has to be run out first) and curves of different arms can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from unimm.evaluation.metric import Evidence
from unimm.evaluation.suite import build_metrics, score_all
from unimm.noise import NoiseSource
from unimm.scenes.prompts import prompt_set
from unimm.schema import RunConfig
from unimm.training.assemble import Arm
from unimm.training.module import ArmModule


def learning_curve(
    config: RunConfig, arm: Arm, module: ArmModule, run_dir: Path, device: torch.device
) -> list[dict[str, Any]]:
    """Scores of each snapshot in ``run_dir``, in order of samples; leaves the final weights in the module."""
    final = {name: value.detach().clone() for name, value in module.trained_state().items()}
    prompts = prompt_set(arm.foundation.world, "validation", config.evaluation.curve_prompts)
    keys = [f"validation {number}" for number in range(len(prompts))]
    metrics = build_metrics(("geneval",), arm.foundation)
    points = []
    for path in sorted((run_dir / "averages").glob("average-*.safetensors")):
        step = int(path.stem.removeprefix("average-"))
        module.load_state_dict(load_file(path), strict=False)
        module.to(device).eval()
        images = arm.pipeline()([str(p["prompt"]) for p in prompts], keys, NoiseSource(0, "evaluation"))
        scores = score_all(metrics, Evidence(images=images, prompts=prompts))
        values = {score.name: score.value for score in scores}
        points.append({"step": step, "samples": step * config.training.batch_size, "n": len(images), "scores": values})
    module.load_state_dict(final, strict=False)
    return points
