"""Build the metrics that a configuration chooses and run them over evidence, in order, each where it has what it needs.

Detectors are chosen on the command line instead, each by one string: its name and its settings, as in
``mask2former source=weights/m2f``. Nested settings are written with dots (``thresholds.counting=0.5``), values with
spaces in quotes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from unimm.component_config import ComponentConfig
from unimm.evaluation.judge import Judge
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.words import BUILT_IN, Words
from unimm.foundation.folder import Foundation
from unimm.registry import detectors
from unimm.registry import metrics as registry
from unimm.schema import Choice
from unimm.user_errors import raised_here

NOT_SCORED = "not scored"  # the entry of a protocol that says why


def build_metrics(chosen: Iterable[str | Choice], foundation: Foundation) -> list[Metric]:
    """The metrics that were chosen, those given by name alone with their default settings.

    Raises ValueError for an unknown name, with the nearest match, and for a name alone where settings are required.
    """
    built = []
    for choice in chosen:
        if isinstance(choice, str):
            metric = registry.get(choice)
            config = _default(choice, metric.Config)
        else:
            metric, config = registry.get(choice.name), choice.config
        built.append(metric(config, foundation))
    return built


def _default(name: str, settings: type[ComponentConfig]) -> ComponentConfig:
    required = [key for key, field in settings.model_fields.items() if field.is_required()]
    if required:
        given = ", ".join(f"{key}: ..." for key in required)
        raise ValueError(f"metric {name} has settings without a default: give it as {{name: {name}, {given}}}")
    return settings()


def own_words(metrics: Iterable[Metric]) -> dict[str, Words]:
    """What metrics call scores that are not built in, for `result.json`: a report cannot ask the metrics."""
    named = {name: words for metric in metrics for name, words in metric.words.items()}
    return {name: words for name, words in named.items() if name not in BUILT_IN}


def score_all(metrics: Sequence[Metric], evidence: Evidence) -> list[Score]:
    """Scores of every metric whose evidence is there; two metrics that use one name are an error."""
    return _named_once(
        score for metric in metrics if metric.needs <= evidence.given for score in metric.score(evidence)
    )


def score_each(metrics: Sequence[tuple[str, Callable[[], list[Score]]]]) -> list[Score]:
    """Scores of every metric that can score; one that refuses leaves a row of its name without a value, which says why.

    ``metrics`` are names, each with what scores. Raises the first refusal where nothing could be scored at all.
    """
    scores: list[Score] = []
    refusals: list[ValueError] = []
    for name, score in metrics:
        try:
            scores += score()
        except ValueError as error:
            if not raised_here(error):
                raise
            refusals.append(error)
            scores.append(Score(name, None, 0, {NOT_SCORED: str(error)}))
    if refusals and len(refusals) == len(metrics):
        raise refusals[0]
    return _named_once(scores)


def _named_once(found: Iterable[Score]) -> list[Score]:
    scores: dict[str, Score] = {}
    for score in found:
        if score.name in scores:
            raise ValueError(f"two metrics give a score {score.name!r}; rename one of them")
        scores[score.name] = score
    return list(scores.values())


def choose(text: str) -> Judge:
    """The detector with its weights loaded; ValueError says what is wrong with the string or the weights."""
    try:
        name, *settings = shlex.split(text) or [""]
    except ValueError as error:
        raise ValueError(f"detector {text!r}: {error}; close the quotation") from error
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
