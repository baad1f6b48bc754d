"""The scenes' judge as a detector: exact on rendered scenes, blind to photographs.

Its score is the IoU with a shape's template and its own threshold (``unimm.scenes.judge.MIN_IOU``) has already been
applied, so GenEval's confidence thresholds are off: they are calibrated for Mask2Former's probabilities. A run that
chooses it is scored by the very metric that judges by default (`unimm.evaluation.metrics.geneval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector, Thresholds, check_images
from unimm.evaluation.judge import named
from unimm.evaluation.metric import Metric
from unimm.evaluation.metrics.geneval import GenEvalStyle
from unimm.foundation.folder import Foundation
from unimm.scenes.judge import detect, to_objects
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import world

DEFAULT_WORLD = "scenes"


class Scenes(Detector):
    """The judge of one world; ``world`` names it (``unimm.scenes.world.WORLDS``)."""

    class Config(ComponentConfig):
        """``world``: whose shapes and colours the judge knows; null: a run's own, and elsewhere that of all shapes."""

        world: str | None = None

    name = "scenes-judge"
    thresholds = Thresholds(confidence=0.0, counting=0.0)

    def __init__(self, config: Config) -> None:
        self.world = world(config.world or DEFAULT_WORLD)

    @classmethod
    def metric(cls, config: Config, foundation: Foundation) -> Metric:
        if config.world not in (None, foundation.world.name):
            raise ValueError(
                f"evaluation.judge: world={config.world}, and the run's foundation is of {foundation.world.name}; "
                "leave it out"
            )
        return GenEvalStyle(GenEvalStyle.Config(), foundation)

    def unknown(self, prompts: Sequence[Metadata]) -> list[str]:
        classes, colours = named(prompts)
        known = (*self.world.shapes, *self.world.colours)
        return [name for name in (*classes, *colours) if name not in known]

    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        check_images(images)
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        found = [to_objects(detect(np.ascontiguousarray(array), self.world)) for array in arrays]
        return [{name: boxes[:MAX_OBJECTS] for name, boxes in objects.items()} for objects in found]
