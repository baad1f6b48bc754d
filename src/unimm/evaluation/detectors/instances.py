"""Detectors that find instances first and name their colours afterwards with CLIP: all but the scenes' judge."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector, Thresholds, check_images
from unimm.evaluation.detectors.colours import ColourClassifier


class Instance(NamedTuple):
    """One object: class, box (x1, y1, x2, y2) in pixels, confidence, and its pixels if the detector knows them."""

    name: str
    box: tuple[float, float, float, float]
    score: float
    mask: Bool[Tensor, "height width"] | None


class InstanceDetector(Detector):
    """A detector whose ``instances`` get their colours from CLIP."""

    class Config(ComponentConfig):
        """``colours``: folder of an open_clip model (GenEval's is OpenAI's ViT-L-14); ``device``: torch's name."""

        colours: Path
        device: str = "cpu"
        thresholds: Thresholds = Thresholds()

    def __init__(self, config: Config) -> None:
        self.thresholds = config.thresholds
        self.device = torch.device(config.device)
        self.colours = ColourClassifier(config.colours, self.device)

    @abstractmethod
    def instances(self, images: UInt8[Tensor, "b 3 height width"]) -> list[list[Instance]]:
        """Every instance on each image, in any order and however uncertain."""

    @torch.inference_mode()
    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        check_images(images)
        found = self.instances(images)
        return [self._objects(image, instances) for image, instances in zip(images, found, strict=True)]

    def _objects(
        self, image: UInt8[Tensor, "3 height width"], instances: Sequence[Instance]
    ) -> dict[str, list[list[Any]]]:
        chosen = _strongest(instances, self.thresholds.lowest)
        colours = self.colours.classify(
            image, [i.name for i in chosen], [i.box for i in chosen], [i.mask for i in chosen]
        )
        objects: dict[str, list[list[Any]]] = {}
        for instance, colour in zip(chosen, colours, strict=True):
            objects.setdefault(instance.name, []).append([*instance.box, instance.score, colour])
        return objects


def _strongest(instances: Sequence[Instance], above: float) -> list[Instance]:
    """At most 16 of each class, most confident first."""
    by_class: dict[str, list[Instance]] = {}
    for instance in sorted(instances, key=lambda instance: -instance.score):
        if instance.score > above:
            by_class.setdefault(instance.name, []).append(instance)
    return [instance for own in by_class.values() for instance in own[:MAX_OBJECTS]]
