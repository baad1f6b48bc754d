"""What a detector is, and which of its objects GenEval counts for a prompt.

The selection follows ``evaluation/evaluate_images.py`` of djghosh13/geneval: per class, boxes strictly above the
confidence threshold (a higher one for counting prompts), the 16 most confident of them, then without boxes that
overlap a more confident one (off in the official defaults). GenEval's rules decide on what is left.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.geneval.files import GenEvalResult, evaluate_image, judge_objects, write_results
from unimm.evaluation.judge import SWEPT, Judge, Judged, score_name
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.progress import progress
from unimm.scenes.geneval_rules import Box, Objects, compute_iou
from unimm.scenes.prompts import Metadata

__all__ = ["Detected", "Detector", "Thresholds", "check_images", "objects_for", "score_name"]

MAX_OBJECTS = 16
BATCH = 16


class Thresholds(ComponentConfig):
    """Confidence a box must exceed, for counting prompts and for others, and the IoU (1: any) it must stay below."""

    confidence: float = Field(0.3, ge=0, lt=1)
    counting: float = Field(0.9, ge=0, lt=1)
    overlap: float = Field(1.0, gt=0, le=1)

    @property
    def lowest(self) -> float:
        """Boxes that do not exceed this count for no prompt."""
        return min(self.confidence, self.counting)


GENEVAL_THRESHOLDS = Thresholds()


class Detector(Judge):
    """Finds objects on images. ``thresholds`` are those it is used with."""

    thresholds: Thresholds
    _last: tuple[Tensor, list[dict[str, list[list[Any]]]]] | None = None

    @abstractmethod
    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        """The objects on each image (RGB), in GenEval's form, all images in one pass.

        Class to at most 16 boxes ``[x1, y1, x2, y2, score, colour]``, corners in pixels with y pointing down, most
        confident first. Boxes that no prompt can count (``thresholds.lowest``) are left out. Raises ValueError for
        other images.
        """

    def find(self, images: UInt8[Tensor, "m 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        """The objects on each image, batch by batch; those that a floor shows with other prompts are kept."""
        if self._last is None or self._last[0] is not images:
            begins = progress(range(0, len(images), BATCH), f"detecting ({self.name})", "batch")
            found = [objects for begin in begins for objects in self.detect(images[begin : begin + BATCH])]
            self._last = images, found
        return self._last[1]

    def fulfilled(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int] | None = None
    ) -> list[float]:
        found, numbers = self.find(images), range(len(images)) if which is None else which
        return [float(self._holds(found[n], prompt)) for n, prompt in zip(numbers, prompts, strict=True)]

    def _holds(self, objects: Objects, prompt: Metadata, thresholds: Thresholds | None = None) -> bool:
        return evaluate_image(objects_for(objects, prompt, thresholds or self.thresholds), prompt)[0]

    def swept(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int]
    ) -> dict[float, list[bool]]:
        """By confidence, from its lowest threshold up: what lies below was never found."""
        found, swept = self.find(images), {}
        for threshold in SWEPT:
            if threshold >= self.thresholds.lowest:
                kept = self.thresholds.model_copy(update={"confidence": threshold, "counting": threshold})
                swept[threshold] = [
                    self._holds(found[n], prompt, kept) for n, prompt in zip(which, prompts, strict=True)
                ]
        return swept

    def decide(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], files: Sequence[str] | None = None
    ) -> list[GenEvalResult]:
        """Every image decided by GenEval's rules from the objects that count for its prompt."""
        names = files or [f"{number:05d}" for number in range(len(images))]
        rows = zip(names, self.find(images), prompts, strict=True)
        own = self.thresholds
        return [judge_objects(name, objects_for(objects, prompt, own), prompt) for name, objects, prompt in rows]

    def protocol(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds.model_dump()}

    def as_metric(self, results: Path | None = None) -> Metric:
        return Detected(Judged.Config(), self, results)


def objects_for(
    objects: Objects, metadata: Mapping[str, Any], thresholds: Thresholds = GENEVAL_THRESHOLDS
) -> dict[str, list[Box]]:
    """The objects that count for a prompt; pass the detector's own ``thresholds``."""
    confidence = thresholds.counting if metadata["tag"] == "counting" else thresholds.confidence
    counted = {
        name: _apart([box for box in boxes if box[4] > confidence][:MAX_OBJECTS], thresholds.overlap)
        for name, boxes in objects.items()
    }
    return {name: boxes for name, boxes in counted.items() if boxes}


def _apart(boxes: Sequence[Box], overlap: float) -> list[Box]:
    """The boxes, most confident first, whose IoU with every kept one is below ``overlap``."""
    kept: list[Box] = []
    for box in boxes:
        if overlap == 1 or all(compute_iou(box, other) < overlap for other in kept):
            kept.append(box)
    return kept


def check_images(images: Tensor) -> None:
    """Raise ValueError unless the images are uint8 [B, 3, H, W]."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"detectors read uint8 images [B, 3, H, W], not {images.dtype} {list(images.shape)}")


class Detected(Judged):
    """GenEval-protocol scores by one detector, which can also write what it decided of every image."""

    def __init__(self, config: Judged.Config, detector: Detector, results: Path | None = None) -> None:
        """``results`` is where scoring also writes GenEval's results file."""
        super().__init__(config, detector)
        self.detector, self.results = detector, results

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.prompts is not None
        scores = super().score(evidence)
        if self.results is not None:
            write_results(self.results, self.detector.decide(evidence.images, evidence.prompts, evidence.files))
        return scores
