"""Finds the component that is meant, builds it with its settings, and runs the checks of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from unimm.component_checks import backbone, encoder, head, metric, objective
from unimm.component_checks.bench import Check, Subject, run_steps
from unimm.config_errors import first_problem
from unimm.foundation.folder import Foundation
from unimm.registry import KINDS
from unimm.strict_yaml import setting

Steps = Mapping[str, Callable[[Any], str]]


class Kind(NamedTuple):
    """The bench on which components of a kind are checked, and the steps."""

    bench: Callable[[Subject], Any]
    steps: Steps


CHECKED: dict[str, Kind] = {
    "encoders": Kind(encoder.EncoderBench, encoder.STEPS),
    "objectives": Kind(objective.ObjectiveBench, objective.STEPS),
    "heads": Kind(head.HeadBench, head.STEPS),
    "backbones": Kind(backbone.BackboneBench, backbone.STEPS),
    "metrics": Kind(metric.MetricBench, metric.STEPS),
}


def kind_of(name: str) -> str:
    """The kind of the component called ``name``, among those that have checks.

    Raises:
        ValueError: no such component, or one of a kind without checks.
    """
    kinds = [kind for kind, registry in KINDS.items() if registry.holds(name)]
    checked = [kind for kind in kinds if kind in CHECKED]
    if checked:
        return checked[0]
    if kinds:
        raise ValueError(f"{name} is one of the {kinds[0]}, which have no checks; those are for {', '.join(CHECKED)}")
    if ":" in name:
        raise ValueError(
            f"{name} derives from none of the base classes in unimm.components and unimm.evaluation.metric"
        )
    raise ValueError(
        f"no component {name!r}; see `unimm list {next(iter(CHECKED))}` and the like, or give package:Class"
    )


def check_component(
    name: str, settings: Sequence[str], foundation: Foundation, device: torch.device
) -> Iterator[Check]:
    """The findings, one by one; ``settings`` are ``key=value``.

    Raises:
        ValueError: no such component, or a wrong setting.
    """
    kind = kind_of(name)
    cls: Any = KINDS[kind].get(name)
    try:
        config = cls.Config.model_validate(dict(map(setting, settings)))
    except ValidationError as error:
        raise ValueError(first_problem(error, name, list(cls.Config.model_fields))) from error
    chosen, subject = CHECKED[kind], Subject(cls, config, foundation, device)
    built: list[Any] = []

    def build(subject: Subject) -> str:
        built.append(chosen.bench(subject))
        return f"{kind}: {cls.__module__}.{cls.__qualname__}({config!r})"

    yield from run_steps(subject, {"builds": build})
    if built:
        yield from run_steps(built[0], chosen.steps)
