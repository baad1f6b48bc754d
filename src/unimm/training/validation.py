"""The loss on held-out images at fixed times and noise, while a run trains: whether it still learns, and where.

Every one of `IMAGES` scenes of the validation split is noised once in each of `BINS` equal bins of t, with a time and a
noise that depend on image and bin alone; conditions are never dropped. So the value of a model does not hang on the
batch size, the number of ranks, the seed or the step, and bins differ by t alone:

    validation_loss/0.25-0.50 = mean over images i of  loss(x_i, t_i, eps_i),  t_i in [0.25, 0.5)

``validation_loss`` is the mean of the bins, so of uniform times, which training need not draw. An objective without
noise has one value. It is taken at the steps of the snapshots, of the weights as they train. Losses of different
encoders or objectives have different units, and do not compare: scores do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unimm.arm import Arm
from unimm.backbones.wording import generation_ids
from unimm.components import Objective
from unimm.data.cache import at_once
from unimm.data.captions import choose
from unimm.data.scenes import Scenes, SceneSet, texts_of_scene
from unimm.data.source import Source
from unimm.noise import NoiseSource
from unimm.schema import RunConfig
from unimm.training.distributed import autocast
from unimm.training.module import ArmModule
from unimm.training.sharding import split_again

IMAGES, BINS = 64, 4
NAME = "validation_loss"
STREAM = "validation loss"


class ValidationLoss:
    """Measures a model in training on these ``latents`` and token ids of their captions, at some steps.

    ``at_once`` samples go through the model together, which changes nothing but rounding.
    """

    def __init__(
        self, latents: Float[Tensor, "m n d"], prompts: Sequence[list[int]], steps: Sequence[int], at_once: int
    ) -> None:
        self.latents, self.prompts, self.steps, self.at_once = latents, prompts, frozenset(steps), at_once

    def at(self, step: int, module: ArmModule) -> dict[str, float]:
        """The losses by name after ``step`` steps; none if it is none of those asked for."""
        if step not in self.steps:
            return {}
        eager = torch.compiler.set_stance("force_eager")  # other shapes and modes would compile for minutes
        count = 1 if module.objective.deterministic else BINS
        with evaluating(module), torch.no_grad(), eager, autocast(module.config, module.device):
            sums = self._sums(module, count)
        means = [total / len(self.latents) for total in sums]
        edges = [(number / count, (number + 1) / count) for number in range(count)]
        by_bin = {f"{NAME}/{low:.2f}-{high:.2f}": mean for (low, high), mean in zip(edges, means, strict=True)}
        return {NAME: sum(means) / count} | (by_bin if count > 1 else {})

    def _sums(self, module: ArmModule, bins: int) -> list[float]:
        """The sum over images of each bin's losses."""
        sums = [0.0] * bins
        for begin in range(0, len(self.latents), self.at_once):
            part = slice(begin, begin + self.at_once)
            latents, keys = self.latents[part].to(module.device), list(range(len(self.latents)))[part]
            conditions = module.conditions(list(self.prompts[part]))
            for number in range(bins):
                noise = NoiseSource(0, STREAM, number)
                time = (number + noise.child("bin").uniform(keys)) / bins
                losses = module.objective.losses_at(
                    module.head, latents, conditions, noise, keys, time.to(module.device)
                )
                sums[number] += float(losses.double().sum())
        return sums


def validation_loss(
    config: RunConfig, arm: Arm, source: Source, device: torch.device, steps: Sequence[int], at_once: int
) -> ValidationLoss | None:
    """For a run on scenes; None for one on other images, of which none are held out, and for an objective that has no
    loss at a given time."""
    if not isinstance(source, Scenes) or not _has_losses_at(arm.objective):
        return None
    world, side = arm.foundation.world, arm.foundation.resolution
    scenes = SceneSet(world, "validation", IMAGES, side)
    draws = NoiseSource(0, STREAM).uniform(range(IMAGES)).tolist()
    captions = [
        choose(texts_of_scene(sample), config.data.caption_kind(draw), 0, number).text
        for number, (sample, draw) in enumerate(zip(scenes.samples, draws, strict=True))
    ]
    prompts = [generation_ids(arm.backbone.tokenizer, caption) for caption in captions]
    return ValidationLoss(_latents(arm, scenes, device), prompts, steps, at_once)


def _latents(arm: Arm, scenes: SceneSet, device: torch.device) -> Float[Tensor, "m n d"]:
    encoder = arm.encoder.to(device)
    with torch.inference_mode():
        return torch.cat(
            [encoder.encode(part.to(device)).cpu() for part in scenes.batches(at_once(64, scenes.resolution))]
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, no part of the module drops anything out; afterwards each is in the mode that it was in, and split over
    ranks if it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        split_again(module)


def _has_losses_at(objective: Objective) -> bool:
    """Whether ``losses_at`` is of the class that defines the loss: one that is inherited beside a loss of a subclass's
    own is another loss's."""
    loss, losses_at = (
        next(cls for cls in type(objective).__mro__ if name in vars(cls)) for name in ("loss", "losses_at")
    )
    return loss is losses_at
