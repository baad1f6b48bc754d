"""A study's plan: every arm fully resolved, the seeds, the claims, hashed and frozen before the first run.

`plan.json` in the study's folder is what workers and reports read; the study file is only needed to start or amend.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unimm.stored_config import current
from unimm.study.errors import StudyError

SCHEMA_VERSION = 1
NOT_HASHED = ("created", "hash")


class Run(NamedTuple):
    """One arm with one seed; `str` of it is its id in the queue, and its folder below `runs/`."""

    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}/seed{self.seed}"


@dataclass(frozen=True)
class PlannedArm:
    """The file an arm came from, and its resolved configuration without the seed, with the hash of that."""

    file: str
    hash: str
    config: dict[str, Any]

    def means(self, config: Mapping[str, Any], source: Path) -> bool:
        """Whether `config`, as `source` stores it, is this arm's, its seed aside, whichever unimm stored either.

        Raises:
            ConfigError: the present schema cannot read one of the two; names the key.
        """
        found = config_hash(config)
        return found == self.hash or config_hash(current(config, source)) == config_hash(self.current)

    @property
    def current(self) -> dict[str, Any]:
        """The configuration as the present schema stores it."""
        return current(self.config, Path(f"plan.json, arm {self.config['name']}"))


@dataclass(frozen=True)
class Plan:
    """The content of `plan.json`; `claims` is the claims file, `created` an ISO 8601 time.

    `tuned` says which tuning found the settings of which arms; a plan without one leaves it out.
    """

    schema_version: int
    name: str
    question: str
    profile: str
    created: str
    hash: str
    seeds: list[int]
    arms: dict[str, PlannedArm]
    overrides: list[str]
    declared_differences: list[str]
    claims: dict[str, Any]
    amendments: list[dict[str, Any]]
    tuned: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """Every planned run, all arms of a seed before the next seed, so that an early look is balanced."""
        return [Run(arm, seed) for seed in self.seeds for arm in self.arms]

    def content(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        content = asdict(self)
        return content if self.tuned else {key: value for key, value in content.items() if key != "tuned"}

    def extends(self, other: Plan, source: Path) -> bool:
        """Whether amendments alone lead from `other`, as `source` stores it, to this plan."""
        amendments, seeds = len(other.amendments), len(other.seeds)
        return (
            self.name == other.name
            and self.amendments[:amendments] == other.amendments
            and self.seeds[:seeds] == other.seeds
            and self.claims == other.claims
            and all(name in self.arms and self.arms[name].means(arm.config, source) for name, arm in other.arms.items())
        )


def digest(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of a resolved configuration, its seed left out."""
    return digest({key: value for key, value in config.items() if key != "seed"})


def plan_hash(content: Mapping[str, Any]) -> str:
    """Hash of everything that was planned."""
    return digest({key: value for key, value in content.items() if key not in NOT_HASHED})


def read_plan(folder: Path) -> Plan:
    """The plan frozen in a study's folder; StudyError if there is none, or one that was edited or is too new."""
    path = folder / "plan.json"
    if not path.is_file():
        raise StudyError(f"{folder} holds no study: it has no plan.json; start one with `unimm study run STUDY.yaml`")
    content = json.loads(path.read_text(encoding="utf-8"))
    if "kind" in content:
        raise StudyError(f"{folder} holds a {content['kind']}, not a study; see `unimm study tune --help`")
    if content["schema_version"] > SCHEMA_VERSION:
        raise StudyError(f"{path} has version {content['schema_version']}: install the unimm that wrote it")
    if plan_hash(content) != content["hash"]:
        raise StudyError(f"{path} was edited: its hash does not hold; restore it, and amend the study file instead")
    arms = {name: PlannedArm(**arm) for name, arm in content["arms"].items()}
    return Plan(**{**content, "arms": arms})
