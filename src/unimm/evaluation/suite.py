"""Run a list of metrics over evidence, in order, each where it has what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.foundation.load import Foundation
from unimm.registry import metrics as registry


def build_metrics(names: Iterable[str], foundation: Foundation) -> list[Metric]:
    """The metrics of those names with their default settings; ValueError names an unknown one's nearest match."""
    built = []
    for name in names:
        metric = registry.get(name)
        built.append(metric(metric.Config(), foundation))
    return built


def score_all(metrics: Sequence[Metric], evidence: Evidence) -> list[Score]:
    """Scores of every metric whose evidence is there; two metrics that use one name are an error."""
    scores: dict[str, Score] = {}
    for metric in metrics:
        if metric.needs <= evidence.given:
            for score in metric.score(evidence):
                if score.name in scores:
                    raise ValueError(f"two metrics give a score {score.name!r}; rename one of them")
                scores[score.name] = score
    return list(scores.values())
