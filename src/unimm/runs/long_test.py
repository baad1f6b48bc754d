"""The test's prompts in the wording of long captions: what to draw, and which scenes their ceilings are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unimm.evaluation.metric import Metric
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.scenes.long_prompts import LongPrompt, long_prompts
from unimm.scenes.prompts import Metadata, prompt_set
from unimm.scenes.world import Scene, World
from unimm.schema import EvaluationConfig


@dataclass(frozen=True)
class LongTest:
    """Long prompts, one an image, in the order of the six tasks' short ones; empty where no metric asks for them."""

    asked: Sequence[LongPrompt]
    keys: Sequence[str]

    @classmethod
    def for_metrics(cls, metrics: Sequence[Metric], world: World, settings: EvaluationConfig) -> LongTest:
        """As many images of every long prompt as of its short one, from the same noise."""
        if not any("long_images" in metric.needs for metric in metrics):
            return cls((), ())
        prompts = long_prompts(prompt_set(world, "test", settings.prompts_per_task), world)
        pairs = [(n, prompt, image) for n, prompt in enumerate(prompts) for image in range(settings.images_per_prompt)]
        return cls([prompt for _, prompt, _ in pairs], [f"{n}/{image}" for n, _, image in pairs])

    @property
    def _prompts(self) -> list[Metadata]:
        return [prompt.metadata for prompt in self.asked]

    def drawn(self, pipeline: Pipeline, noise: NoiseSource) -> dict[str, Any]:
        """The fields of `Evidence` that the arm's own images fill."""
        if not self.asked:
            return {}
        images = pipeline([str(p["prompt"]) for p in self._prompts], self.keys, noise)
        return {"long_images": images, "long_prompts": self._prompts}

    def real(self, shown: Callable[[list[Scene]], dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
        """The same fields for every kind of real images that ``shown`` makes of the described scenes."""
        if not self.asked:
            return {}
        images = shown([prompt.scene for prompt in self.asked])
        return {name: {"long_images": kind, "long_prompts": self._prompts} for name, kind in images.items()}
