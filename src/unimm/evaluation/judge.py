"""What a judge is, and the scores by it: it says of each image how surely the image fulfils its prompt.

Detectors are judges (`unimm.evaluation.detectors.base`), and so are vision-language models that are asked. Scores carry
the judge's name: two judges give two sets of them. Overall is GenEval's, the unweighted mean of the tasks. Beside it
stand the two other averages that are sometimes called GenEval: the share of all images that are correct, and that of
prompts with at least one correct image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import clustered, clustered_mean
from unimm.evaluation.words import Words, judged_family
from unimm.foundation.folder import Foundation
from unimm.scenes.prompts import Metadata

SURE = 0.5
SWEPT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHOWN = 5


class Judge(ABC):
    """Says whether images fulfil prompts. ``name`` says which judge and weights."""

    Config: ClassVar[type[ComponentConfig]]
    official: ClassVar[bool] = False

    name: str

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Load the weights; raises ValueError where they are missing."""

    @abstractmethod
    def fulfilled(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int] | None = None
    ) -> list[float]:
        """For each prompt (GenEval's metadata) how surely its image fulfils it, 0 to 1; 0.5 and more is correct.

        The image of prompt i is that with the number ``which[i]``, by default i.
        """

    def swept(
        self, images: UInt8[Tensor, "m 3 height width"], prompts: Sequence[Metadata], which: Sequence[int]
    ) -> dict[float, list[bool]]:
        """Threshold to what would count as fulfilled if it decided: how much hangs on it."""
        sure = self.fulfilled(images, prompts, which)
        return {threshold: [each >= threshold for each in sure] for threshold in SWEPT}

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What its scores depend on beside images and prompts: settings, and a hash of the weights."""

    def unknown(self, prompts: Sequence[Metadata]) -> list[str]:
        """The classes and colours of prompts that it cannot see, which would make every image wrong."""
        return []

    def as_metric(self, results: Path | None = None) -> Metric:
        """Scores by this judge; ``results`` is where a detector also writes GenEval's results file."""
        if results is not None:
            raise ValueError(f"GenEval's results file holds what a detector found, and {self.name} is none")
        return Judged(Judged.Config(), self)

    @classmethod
    def metric(cls, config: Any, foundation: Foundation) -> Metric:
        """The metric by which a run with `evaluation.judge` scores."""
        return cls(config).as_metric()


def score_name(judge: Judge) -> str:
    """What a score by this judge may be called: GenEval only if it is the official detector."""
    return "GenEval" if judge.official else f"GenEval-protocol, detector={judge.name}"


def named(prompts: Iterable[Metadata]) -> tuple[list[str], list[str]]:
    """The classes and the colours that prompts name, each once and in order."""
    clauses = [clause for prompt in prompts for clause in [*prompt["include"], *prompt.get("exclude", [])]]
    colours = [clause["color"] for clause in clauses if "color" in clause]
    return list(dict.fromkeys(clause["class"] for clause in clauses)), list(dict.fromkeys(colours))


class Judged(Metric):
    """GenEval-protocol scores by one judge."""

    class Config(ComponentConfig):
        """Nothing to set: thresholds are the judge's."""

    needs = frozenset({"images", "prompts"})

    def __init__(self, config: Config, judge: Judge) -> None:
        self.config, self.judge = config, judge
        self.words: Mapping[str, Words] = judged_family(judge.name)

    @property
    def prefix(self) -> str:
        """What the names of its scores begin with."""
        return f"geneval[{self.judge.name}]"

    def objection(self, prompts: Sequence[Metadata] | None, captions: Sequence[str]) -> str | None:
        unknown = self.judge.unknown(prompts or ())
        if not unknown:
            return None
        return f"the judge {self.judge.name} knows no {', '.join(unknown[:SHOWN])}: choose one that does"

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.prompts is not None and evidence.captions is not None
        if problem := self.objection(evidence.prompts, evidence.captions):
            raise ValueError(problem)
        sure = self.judge.fulfilled(evidence.images, evidence.prompts)
        correct = [float(each >= SURE) for each in sure]
        return self.scores(correct, [prompt["tag"] for prompt in evidence.prompts], evidence.captions)

    def scores(self, correct: Sequence[float], tags: Sequence[str], prompts: Sequence[str]) -> list[Score]:
        """By task, overall, and the two other averages, of images that are ``correct`` (1) or not (0)."""
        prefix = self.prefix
        protocol: dict[str, Any] = {"name": score_name(self.judge), **self.judge.protocol()}
        tasks = [[c if tag == task else None for c, tag in zip(correct, tags, strict=True)] for task in _distinct(tags)]
        scores = [
            Score(f"{prefix}/{task}", _mean(own), tags.count(task), protocol, own, clustered(own, prompts))
            for task, own in zip(_distinct(tags), tasks, strict=True)
        ]
        overall, error = float(np.mean([score.value for score in scores])), clustered_mean(tasks, prompts)
        mean_of = {**protocol, "mean of": [score.name for score in scores]}
        by_prompt = [max(c for c, own in zip(correct, prompts, strict=True) if own == p) for p in _distinct(prompts)]
        return [
            *scores,
            Score(f"{prefix}/overall", overall, len(correct), mean_of, stderr=error),
            Score(
                f"{prefix}/correct_images", _mean(correct), len(correct), protocol, correct, clustered(correct, prompts)
            ),
            Score(f"{prefix}/correct_prompts", _mean(by_prompt), len(by_prompt), protocol),
        ]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _mean(items: Sequence[float | None]) -> float:
    return float(np.mean([item for item in items if item is not None]))
