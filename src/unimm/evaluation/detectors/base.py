"""What a detector is, which of its objects GenEval counts for a prompt, and the scores by it.

The selection follows ``evaluation/evaluate_images.py`` of djghosh13/geneval: per class, boxes strictly above the
confidence threshold (a higher one for counting prompts), the 16 most confident of them, then without boxes that
overlap a more confident one (off in the official defaults).

Scores carry the detector's name: two detectors give two sets of them. Overall is the official one, the unweighted mean
of the tasks. Beside it stand the two other averages that are sometimes called GenEval: the share of all images that are
correct, and that of prompts with at least one correct image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from unimm.component_config import ComponentConfig
from unimm.evaluation.geneval.files import GenEvalResult, judge_objects, write_results
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import clustered, clustered_mean
from unimm.scenes.geneval_rules import Box, Objects, compute_iou

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


class Detector(ABC):
    """Finds objects on images. ``name`` says which detector and weights; ``thresholds`` are those it is used with."""

    Config: ClassVar[type[ComponentConfig]]
    official: ClassVar[bool] = False

    name: str
    thresholds: Thresholds

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Load the weights; raises ValueError where they are missing."""

    @abstractmethod
    def detect(self, images: UInt8[Tensor, "b 3 height width"]) -> list[dict[str, list[list[Any]]]]:
        """The objects on each image (RGB), in GenEval's form, all images in one pass.

        Class to at most 16 boxes ``[x1, y1, x2, y2, score, colour]``, corners in pixels with y pointing down, most
        confident first. Boxes that no prompt can count (``thresholds.lowest``) are left out. Raises ValueError for
        other images.
        """


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


def score_name(detector: Detector) -> str:
    """What a score by this detector may be called: GenEval only if the detector is the official one."""
    return "GenEval" if detector.official else f"GenEval-protocol, detector={detector.name}"


def check_images(images: Tensor) -> None:
    """Raise ValueError unless the images are uint8 [B, 3, H, W]."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"detectors read uint8 images [B, 3, H, W], not {images.dtype} {list(images.shape)}")


class Detected(Metric):
    """GenEval-protocol scores by one detector."""

    class Config(ComponentConfig):
        """Nothing to set: thresholds are the detector's."""

    needs = frozenset({"images", "prompts"})

    def __init__(self, config: Config, detector: Detector, results: Path | None = None) -> None:
        """``results`` is where scoring also writes GenEval's results file."""
        self.config, self.detector, self.results = config, detector, results

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.captions is not None
        judged = self.judge(evidence)
        if self.results is not None:
            write_results(self.results, judged)
        return self._scores([float(row.correct) for row in judged], [row.tag for row in judged], evidence.captions)

    def judge(self, evidence: Evidence) -> list[GenEvalResult]:
        """Every image decided by GenEval's rules from the objects that count for its prompt."""
        assert evidence.images is not None and evidence.prompts is not None
        files = evidence.files or [f"{number:05d}" for number in range(len(evidence.images))]
        judged = []
        for begin in tqdm(range(0, len(evidence.images), BATCH), desc=f"detecting ({self.detector.name})"):
            part = slice(begin, begin + BATCH)
            found = self.detector.detect(evidence.images[part])
            for file, objects, metadata in zip(files[part], found, evidence.prompts[part], strict=True):
                judged.append(judge_objects(file, objects_for(objects, metadata, self.detector.thresholds), metadata))
        return judged

    def _scores(self, correct: Sequence[float], tags: Sequence[str], prompts: Sequence[str]) -> list[Score]:
        prefix = f"geneval[{self.detector.name}]"
        thresholds = self.detector.thresholds.model_dump()
        protocol: dict[str, Any] = {"name": score_name(self.detector), "thresholds": thresholds}
        tasks = [[c if tag == task else None for c, tag in zip(correct, tags, strict=True)] for task in _distinct(tags)]
        scores = [
            Score(f"{prefix}/{task}", _mean(own), tags.count(task), protocol, own, clustered(own, prompts))
            for task, own in zip(_distinct(tags), tasks, strict=True)
        ]
        overall, error = float(np.mean([score.value for score in scores])), clustered_mean(tasks, prompts)
        by_prompt = [max(c for c, own in zip(correct, prompts, strict=True) if own == p) for p in _distinct(prompts)]
        return [
            *scores,
            Score(f"{prefix}/overall", overall, len(correct), {**protocol, "mean of": "tasks"}, stderr=error),
            Score(
                f"{prefix}/correct_images", _mean(correct), len(correct), protocol, correct, clustered(correct, prompts)
            ),
            Score(f"{prefix}/correct_prompts", _mean(by_prompt), len(by_prompt), protocol),
        ]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _mean(items: Sequence[float | None]) -> float:
    return float(np.mean([item for item in items if item is not None]))
