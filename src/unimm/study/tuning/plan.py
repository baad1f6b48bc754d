"""A tuning's plan: every arm fully resolved, what is searched, the budget; hashed and frozen before the first trial.

It never grows: more trials for some arm, or after a look, would not be an equal budget any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from unimm.config import differing, flatten
from unimm.files import write_json
from unimm.study.plan import NOT_HASHED, PlannedArm, changes, plan_hash
from unimm.study.processes import StudyError

SCHEMA_VERSION = 1
KIND = "tuning"
Settings = dict[str, Any]


class Trial(NamedTuple):
    """One trial of one arm; trial 0 is the arm as it stands. `str` of it is its folder below `trials/`."""

    arm: str
    number: int

    def __str__(self) -> str:
        return f"{self.arm}/trial{self.number}"


@dataclass(frozen=True)
class TuningPlan:
    """The content of `plan.json`; `space`, `by_sampling` and `sampler` are as in the file."""

    schema_version: int
    kind: str
    name: str
    question: str
    profile: str
    created: str
    hash: str
    seed: int
    trials: int
    samples: int
    prompts: int
    metric: str
    sampler: dict[str, Any]
    space: dict[str, dict[str, Any]]
    by_sampling: dict[str, list[Any]]
    arms: dict[str, PlannedArm]
    overrides: list[str]
    declared_differences: list[str]

    @property
    def all_trials(self) -> list[Trial]:
        """Every planned trial, all arms before any gets its next, so that an early look is balanced."""
        return [Trial(arm, number) for number in range(self.trials) for arm in self.arms]

    def space_of(self, arm: str) -> dict[str, dict[str, Any]]:
        """What is searched for an arm by training."""
        return {key: entry for key, entry in self.space.items() if has(self.arms[arm].config, key)}

    def by_sampling_of(self, arm: str) -> dict[str, list[Any]]:
        """What is chosen for an arm by sampling."""
        return {key: values for key, values in self.by_sampling.items() if has(self.arms[arm].config, key)}

    def config(self, arm: str, params: Mapping[str, Any]) -> Settings:
        """An arm's resolved configuration for a trial, its seed included."""
        return with_values({**self.arms[arm].config, "seed": self.seed}, params)

    def content(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        return asdict(self)

    def meaning(self) -> dict[str, Any]:
        """What was planned, every arm as the present schema reads it."""
        arms = {name: {"file": arm.file, "config": arm.current} for name, arm in self.arms.items()}
        return {key: value for key, value in self.content().items() if key not in NOT_HASHED} | {"arms": arms}


def has(config: Mapping[str, Any], key: str) -> bool:
    """Whether a resolved configuration has the dotted key: an objective without guidance has no setting for it."""
    return key in flatten(config)


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> Settings:
    """A copy of a nested configuration with other values at dotted keys that it has."""
    copy: Settings = json.loads(json.dumps(config))
    for key, value in values.items():
        *path, leaf = key.split(".")
        section = copy
        for part in path:
            section = section[part]
        assert leaf in section, f"{key} is no setting of {config['name']}"
        section[leaf] = value
    return copy


def is_tuning(folder: Path) -> bool:
    """Whether a folder holds a tuning rather than a study."""
    path = folder / "plan.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("kind") == KIND


def read_tuning_plan(folder: Path) -> TuningPlan:
    """The plan frozen in a tuning's folder; StudyError if there is none, or one that was edited or is too new."""
    path = folder / "plan.json"
    if not is_tuning(folder):
        raise StudyError(f"{folder} holds no tuning; start one with `unimm study tune TUNING.yaml`")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["schema_version"] > SCHEMA_VERSION:
        raise StudyError(f"{path} has version {content['schema_version']}: install the unimm that wrote it")
    if plan_hash(content) != content["hash"]:
        raise StudyError(f"{path} was edited: its hash does not hold; restore it")
    arms = {name: PlannedArm(**arm) for name, arm in content["arms"].items()}
    return TuningPlan(**{**content, "arms": arms})


def freeze(wanted: TuningPlan, folder: Path) -> TuningPlan:
    """Make `wanted` the folder's plan, unless it is already; StudyError says how the one that is there differs."""
    if not (folder / "plan.json").exists():
        write_json(folder / "plan.json", wanted.content())
        return wanted
    frozen = read_tuning_plan(folder)
    if differing(frozen.meaning(), wanted.meaning()):
        lines = [f"  {line}" for line in changes(frozen.meaning(), wanted.meaning())]
        raise StudyError("\n".join([f"{folder} was planned otherwise; choose another --out. They differ in:", *lines]))
    return frozen


def hashed(plan: TuningPlan) -> TuningPlan:
    """The plan with the hash of its content."""
    return replace(plan, hash=plan_hash(plan.content()))
