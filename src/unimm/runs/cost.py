"""What a run costs: FLOPs of training and sampling, seconds, memory; when it reached preset scores; larger images.

FLOPs are counted on real passes (`unimm.flops`). Captions and rows about images differ in length, and a few steps hold
too few long ones, or too many: one pass of every kind is counted at the mean length that this run gave it, and weighed
by how many it made (`unimm.training.passes`). Runs of one configuration differ by these counts alone. The frozen
backbone's forward pass counts, what a cache saved (the encoder's latents) does not. What the foundation's parts cost
stands in its card.

When a run first reached scores that were set beforehand is read off the learning curve, log-linear between snapshots,
and the next snapshot must confirm it (`unimm.analysis.reach`). A run that crossed before its first snapshot, or not by
its last, is censored: its cost is known within bounds only, and stays in every comparison with those bounds.

BLIP3-o (arXiv 2505.09568) argues for CLIP features because they stay 64 tokens at every resolution, while VAE latents
grow with it. Here a scene is drawn larger, encoded by the run's own encoder, and a head of the run's own size, built
for that many tokens (its weights do not matter), is counted on one sample. Encoders that can be built without weights
are run on shapes alone: an autoencoder's activations at four times 1,024 pixels would fill a machine's memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unimm.analysis.reach import cost_to_reach
from unimm.arm import Arm
from unimm.backbones.causal_lm import Row, summed_loss
from unimm.data.scenes import SceneSet
from unimm.encoders.calibrated import OutlinedEncoder
from unimm.files import parse_json, read_text
from unimm.flops import count_flops
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.registry import heads
from unimm.runs.record import Bounds, CountedPass, CurvePoint, Efficiency, Reached, ResolutionPoint
from unimm.runs.run import Run
from unimm.training.distributed import autocast
from unimm.training.module import ArmModule
from unimm.training.passes import GENERATION

# Half of all facts is the target of the studies' claims; 0.3 of whole prompts is what a ten-minute run aims at.
PRESETS = {"atoms/overall": 0.5, "geneval/overall": 0.3}
COUNTED_SAMPLES, COUNTED_IMAGES = 2, 4
FACTORS = (1, 2, 4)


def reached(curve: Sequence[CurvePoint], flops_per_sample: float, log: Path) -> list[Reached]:
    """The ``efficiency.reached`` of result.json; ``log`` is the run's metrics.jsonl. Empty without a curve."""
    if len(curve) < 2:
        return []
    samples = [point.samples for point in curve]
    seconds = _clock(log)
    found = []
    for name, target in PRESETS.items():
        if name not in curve[0].scores:  # judged by others than the scenes' judge
            continue
        cost = cost_to_reach(samples, np.array([point.scores[name] for point in curve], dtype=float), target)
        found.append(
            Reached(
                score=name,
                target=target,
                samples=_bounds(cost.low, cost.high, lambda count: count),
                flops=_bounds(cost.low, cost.high, lambda count: count * flops_per_sample),
                seconds=_bounds(cost.low, cost.high, seconds),
            )
        )
    return found


def _bounds(low: float, high: float, cost: Callable[[float], float]) -> Bounds:
    return Bounds(low=cost(low), high=cost(high) if math.isfinite(high) else None)


def _clock(log: Path) -> Callable[[float], float]:
    """Training seconds by samples, linear between the log's rows."""
    rows = [parse_json(line, str(log), "delete its last line") for line in read_text(log).splitlines()]
    samples, seconds = ([0.0, *(row[key] for row in rows)] for key in ("samples", "seconds"))
    return lambda count: float(np.interp(count, samples, seconds))


def training_flops(module: ArmModule) -> list[CountedPass]:
    """FLOPs of forward and backward pass of every kind of pass that training made; leaves no gradients behind."""
    module.train()
    if not module.data.passes.passes:  # trained to the end by a version that did not note them
        with torch.no_grad():
            for share in range(len(module.data.shares)):
                module.losses(0, share)
    found = []
    for made in module.data.passes.passes:
        count = partial(_generation if made.kind.startswith(GENERATION) else _understanding, module)
        found.append(CountedPass(**made._asdict(), flops=between_whole(count, made.length, made.answer)))
    module.zero_grad(set_to_none=True)
    module.eval()
    return found


def between_whole(count: Callable[[int, int], float], length: float, answer: float) -> float:
    """``count`` of two whole numbers, linear between them."""
    (whole_length, more_length), (whole_answer, more_answer) = (divmod(value, 1) for value in (length, answer))
    at = int(whole_length), int(whole_answer)
    base = total = count(*at)
    if more_length:
        total += more_length * (count(at[0] + 1, at[1]) - base)
    if more_answer:
        total += more_answer * (count(at[0], at[1] + 1) - base)
    return total


def _generation(module: ArmModule, length: int, _: int) -> float:
    """FLOPs of one generation sample whose caption is padded to so many tokens."""
    prompts, latents, keys = module.data.generation(0)
    few = [_of_length(ids, length) for ids in prompts[:COUNTED_SAMPLES]]
    return _backward(module, lambda: module.loss_on(few, latents[: len(few)], keys[: len(few)])) / len(few)


def _understanding(module: ArmModule, length: int, answer: int) -> float:
    """FLOPs of one row about an image, padded to so many tokens, of which logits cover the answer."""
    data = module.data
    places = ((step, share) for step in range(data.steps) for share in range(len(data.shares)))
    rows, images = next(asked for place in places if (asked := data.understanding(*place))[0])
    seeing = len(rows) if images is None else len(images)  # rows after these are text alone
    shortest = min(range(seeing), key=lambda number: len(rows[number].ids))
    few = [Row(_of_length(rows[shortest].ids, length, cut=False), answer)] * COUNTED_SAMPLES
    shown = None if images is None else images[[shortest] * len(few)]
    return _backward(module, lambda: summed_loss(module.backbone, few, shown)) / len(few)


def _of_length(ids: list[int], length: int, cut: bool = True) -> list[int]:
    """Ids made longer by the last one, or shorter; rows are not cut, since they hold an image's placeholders."""
    longer = ids + [ids[-1]] * (length - len(ids))
    return longer[:length] if cut else longer


def _backward(module: ArmModule, loss: Callable[[], torch.Tensor]) -> int:
    def step() -> None:
        with autocast(module.config, module.device):
            value = loss()
        value.backward()

    return count_flops(step)


def sampling_flops(pipeline: Pipeline, prompts: list[str]) -> float:
    """FLOPs an image, from prompt to pixels."""
    few = prompts[:COUNTED_IMAGES]
    keys = [str(number) for number in range(len(few))]
    return count_flops(lambda: pipeline(few, keys, NoiseSource(0, "flops"))) / len(few)


def completed(spent: Efficiency, seconds_per_image: float, curve: Sequence[CurvePoint], log: Path) -> Efficiency:
    """``efficiency`` with what only scoring can tell: seconds an image, and when preset scores were reached."""
    known = reached(curve, spent.train_flops_per_sample, log)
    return spent.model_copy(update={"sampling_seconds_per_image": seconds_per_image, "reached": known})


def efficiency(module: ArmModule, pipeline: Pipeline, prompts: list[str], peak_memory: int) -> Efficiency:
    """The ``efficiency`` of result.json, as far as it is known before scoring."""
    samples, passes = module.config.steps * module.config.batch_size, training_flops(module)
    # A rank made a part of all passes, and a run that went on from an older version noted the later ones only.
    noted = sum(made.samples for made in passes if made.kind.startswith(GENERATION))
    per_sample = sum(made.samples * made.flops for made in passes) / noted
    scaled = [made.model_copy(update={"samples": round(made.samples * samples / noted)}) for made in passes]
    return Efficiency(
        train_flops_per_sample=per_sample,
        train_flops=per_sample * samples,
        passes=scaled,
        sampling_flops_per_image=sampling_flops(pipeline, prompts),
        peak_memory_bytes=peak_memory,
    )


def resolution_scaling(run: Run) -> list[ResolutionPoint]:
    """The ``resolution_scaling`` of result.json, from the run's resolution as far up as the encoder goes."""
    points = []
    for factor in FACTORS:
        side = factor * run.arm.foundation.resolution
        try:
            tokens = encoded_tokens(run.arm, side, run.device)
        except (ValueError, RuntimeError):  # a tower may be made for one size only
            if factor == 1:
                raise
            break
        flops = head_flops(run, tokens)
        points.append(ResolutionPoint(resolution=side, tokens=tokens, head_flops=flops))
    return points


@torch.inference_mode()
def encoded_tokens(arm: Arm, side: int, device: torch.device) -> int:
    """Tokens of one image of a side."""
    encoder = arm.encoder
    if isinstance(encoder, OutlinedEncoder):
        outline = encoder.on_meta(encoder.config, side)
        return int(outline.encode(torch.empty(1, 3, side, side, device="meta")).shape[1])
    image = SceneSet(arm.foundation.world, "validation", 1, side).images(slice(0, 1))
    return int(encoder.to(device).encode(image.to(device)).shape[1])


@torch.inference_mode()
def head_flops(run: Run, tokens: int) -> int:
    """FLOPs of one forward pass on one sample of so many tokens, on a square grid; counted on shapes alone."""
    config, arm = run.config, run.arm
    side, width = math.isqrt(tokens), arm.backbone.width
    channels = arm.objective.head_channels(arm.encoder.latent_spec().channels)
    if side * side != tokens:
        raise ValueError(f"encoder={config.encoder.name} gave {tokens} tokens, which form no square grid")
    build: Any = heads.get(config.head.name)
    with torch.device("meta"):
        head = build(config.head.config, channels, (side, side), width).eval()
        queries = tokens if head.one_query_a_token else len(arm.backbone.queries)
        noisy, time, conditions = torch.zeros(1, tokens, channels), torch.zeros(1), torch.zeros(1, queries, width)
    return count_flops(lambda: head(noisy, time, conditions))
