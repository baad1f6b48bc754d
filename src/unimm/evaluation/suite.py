"""Run a list of metrics over evidence, in order, each where it has what it needs.

A detector from one string of the command line: its name and its settings, as in ``mask2former source=weights/m2f``.

Nested settings are written with dots (``thresholds.counting=0.5``), values with spaces in quotes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from unimm.evaluation.detectors.base import Detector
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.foundation.folder import Foundation
from unimm.registry import detectors
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


def choose(text: str) -> Detector:
    """The detector with its weights loaded; ValueError says what is wrong with the string or the weights."""
    name, *settings = shlex.split(text) or [""]
    chosen = detectors.get(name)
    try:
        config = chosen.Config.model_validate(_nested(settings, name))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(chosen.Config.model_fields)
        raise ValueError(f"detector {name}: {problems}; its settings are {known}, written as key=value") from error
    return chosen(config)


def _nested(settings: list[str], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"detector {name}: {setting!r} is no setting; write key=value, as in source=FOLDER")
        *parents, leaf = key.split(".")
        section = found
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value
    return found
