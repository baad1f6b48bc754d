"""The scenes' judge as a detector: exact on rendered scenes, blind to photographs.

Its score is the IoU with a shape's template and its own threshold (``unimm.scenes.judge.MIN_IOU``) has already been
applied, so GenEval's confidence thresholds are off: they are calibrated for Mask2Former's probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector, Thresholds, check_images
from unimm.scenes.judge import detect, to_objects
from unimm.scenes.world import world


class Scenes(Detector):
    """The judge of one world; ``world`` names it (``unimm.scenes.world.WORLDS``)."""

    class Config(ComponentConfig):
        """``world``: whose shapes and colours the judge knows."""

        world: str = "scenes"

    name = "scenes-judge"
    thresholds = Thresholds(confidence=0.0, counting=0.0)

    def __init__(self, config: Config) -> None:
        self.world = world(config.world)

    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        check_images(images)
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        found = [to_objects(detect(np.ascontiguousarray(array), self.world)) for array in arrays]
        return [{name: boxes[:MAX_OBJECTS] for name, boxes in objects.items()} for objects in found]
