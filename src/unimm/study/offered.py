"""Refuses to plan a tuning that offers what cannot differ: its looks would find ties, and ties read like findings.

Refused are a value that stands there twice or resolves to the same configuration as another, averages that the warm-up
makes equal in as many steps as a trial has (`unimm.training.averaging`), a setting that offers an arm nothing but what
it has, and settings that a trial does not read. A plan that is frozen stays as it is: only new ones are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import nextafter
from pathlib import Path
from typing import Any

from unimm.config import current, differing, flatten, shown
from unimm.schema import INSTEAD
from unimm.study.plan import TuningPlan, has, with_values
from unimm.study.processes import StudyError
from unimm.training.averaging import averaging, is_same, mean_age

# What a trial does with the images is decided by the tuning; where and in which portions it trains changes no weights.
NOT_READ = (
    "evaluation",
    "training.checkpoint_every_steps",
    "training.device",
    "training.distributed",
    "training.gradient_accumulation_steps",
)
Config = Mapping[str, Any]


def refuse_equal_options(path: Path, plan: TuningPlan) -> None:
    """StudyError, one line for each reason, if the tuning that `path` describes offers what cannot differ."""
    problems = [problem for key, values in _offered(plan).items() for problem in _problems(plan, key, values, path)]
    if problems:
        raise StudyError("\n".join(f"{path}: {problem}" for problem in dict.fromkeys(problems)))


def _offered(plan: TuningPlan) -> dict[str, list[Any]]:
    """Every searched setting and its values; of a range its upper end and the next number below."""
    ranges = {key: entry for key, entry in plan.space.items() if "low" in entry}
    choices = {key: list(entry["choices"]) for key, entry in plan.space.items() if "choices" in entry}
    ends = {key: [entry["high"], nextafter(entry["high"], entry["low"])] for key, entry in ranges.items()}
    return {**ends, **choices, **plan.by_sampling}


def _problems(plan: TuningPlan, key: str, values: Sequence[Any], path: Path) -> Iterator[str]:
    if any(key == name or key.startswith(f"{name}.") for name in NOT_READ):
        yield f"{key}: no score of a trial depends on it; leave it out"
        return
    arms = {name: arm.config for name, arm in plan.arms.items() if has(arm.config, key)}
    if key in plan.by_sampling and all({*values} <= {flatten(config)[key]} for config in arms.values()):
        yield f"{key}: offers nothing but what every arm has; give it other values or leave it out"
    for config in arms.values():
        for first, second in _equal(config, key, values, path):
            yield f"{key}: {shown(first)} and {shown(second)} are the same setting; leave one out"
        if key in INSTEAD:
            yield from _equal_averages(config, key, values, is_range="low" in plan.space.get(key, {}))


def _equal(config: Config, key: str, values: Sequence[Any], path: Path) -> Iterator[tuple[Any, Any]]:
    """Pairs of values that the schema reads as one and the same configuration."""
    resolved = [(value, current(with_values(config, {key: value}), path)) for value in values]
    for (first, one), (second, other) in combinations(resolved, 2):
        if not differing(one, other):
            yield first, second


def _equal_averages(config: Config, key: str, values: Sequence[float], is_range: bool) -> Iterator[str]:
    """Lengths of the average that no trial can tell apart, the arm's own among them: one line for all of them."""
    training = config["training"]
    steps, own = training["samples"] // training["batch_size"], averaging(training)
    named = {averaging(with_values(config, {key: value})["training"]): f"{value:g}" for value in values}
    if is_range:
        named = dict(zip(named, (f"{values[0]:g}, the upper end", "what is just below it"), strict=True))
    else:
        named.setdefault(own, f"the arm's own {own}")
    void = [kind for kind in named if any(other != kind and is_same(kind, other, steps) for other in named)]
    if void:
        yield (
            f"{key}: {' and '.join(named[kind] for kind in void)} are one and the same average in a trial's {steps:,} "
            f"steps: the warm-up lets its weights be {mean_age(void[0], steps):.0%} of the run old at most; offer "
            "shorter ones, or training.ema_length, which is relative to the run"
        )
