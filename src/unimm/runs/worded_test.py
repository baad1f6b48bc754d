"""The test's prompts in other wordings: what to draw, and which scenes their ceilings are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unimm.evaluation.metric import Metric
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.scenes.prompts import prompt_set
from unimm.scenes.worded_prompts import WORDINGS, WordedPrompt, worded_prompts
from unimm.scenes.world import Scene, World
from unimm.schema import EvaluationConfig


@dataclass(frozen=True)
class WordedTest:
    """Prompts in another wording, one an image, in the order of the six tasks' short ones."""

    wording: str
    asked: Sequence[WordedPrompt]
    keys: Sequence[str]

    @classmethod
    def for_metrics(cls, metrics: Sequence[Metric], world: World, settings: EvaluationConfig) -> tuple[WordedTest, ...]:
        """Those of the wordings that metrics ask for: as many images of every prompt as of its short one, from the
        same noise."""
        wanted = [name for name in WORDINGS if wants(metrics, f"{name}_images")]
        return tuple(cls._of(name, world, settings) for name in wanted)

    @classmethod
    def _of(cls, wording: str, world: World, settings: EvaluationConfig) -> WordedTest:
        prompts = worded_prompts(prompt_set(world, "test", settings.prompts_per_task), world, wording)
        pairs = [(n, prompt, image) for n, prompt in enumerate(prompts) for image in range(settings.images_per_prompt)]
        return cls(wording, [prompt for _, prompt, _ in pairs], [f"{n}/{image}" for n, _, image in pairs])

    def drawn(self, pipeline: Pipeline, noise: NoiseSource) -> dict[str, Any]:
        """The fields of `Evidence` that the arm's own images fill."""
        return self._fields(pipeline([str(prompt.metadata["prompt"]) for prompt in self.asked], self.keys, noise))

    def real(self, shown: Callable[[list[Scene]], dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
        """The same fields for every kind of real images that ``shown`` makes of the described scenes."""
        return {name: self._fields(kind) for name, kind in shown([prompt.scene for prompt in self.asked]).items()}

    def _fields(self, images: Tensor) -> dict[str, Any]:
        return {
            f"{self.wording}_images": images,
            f"{self.wording}_prompts": [prompt.metadata for prompt in self.asked],
        }


def wants(metrics: Sequence[Metric], field: str) -> bool:
    """Whether a metric needs that field of the evidence, which costs images of its own."""
    return any(field in metric.needs for metric in metrics)
