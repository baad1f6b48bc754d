"""GenEval's scores of images by any detector, under the detector's name: two detectors give two sets of scores.

Overall is the official one, the unweighted mean of the tasks. Beside it stand the two other averages that are sometimes
called GenEval: the share of all images that are correct, and that of prompts with at least one correct image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from unimm.component_config import ComponentConfig
from unimm.evaluation.detectors.base import Detector, objects_for, score_name
from unimm.evaluation.geneval import evaluate_image
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.standard_error import clustered, clustered_mean

BATCH = 16


class Detected(Metric):
    """GenEval-protocol scores by one detector."""

    class Config(ComponentConfig):
        """Nothing to set: thresholds are the detector's."""

    needs = frozenset({"images", "prompts"})

    def __init__(self, config: Config, detector: Detector) -> None:
        self.config, self.detector = config, detector

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.prompts is not None and evidence.captions is not None
        correct = []
        for begin in tqdm(range(0, len(evidence.images), BATCH), desc=f"detecting ({self.detector.name})"):
            found = self.detector.detect(evidence.images[begin : begin + BATCH])
            for objects, metadata in zip(found, evidence.prompts[begin : begin + BATCH], strict=True):
                counted = objects_for(objects, metadata, self.detector.thresholds)
                correct.append(float(evaluate_image(counted, metadata)[0]))
        return self._scores(correct, [metadata["tag"] for metadata in evidence.prompts], evidence.captions)

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
