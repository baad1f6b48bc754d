"""A study's plan: every arm fully resolved, the seeds, the claims, hashed and frozen before the first run.

`plan.json` in the study's folder is what workers and reports read; the study file is only needed to start or amend.

Where configurations differ: between arms (each difference has to be declared) and between a plan and its file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unimm.config import ABSENT, current, differing, flatten, shown
from unimm.registry import nearest
from unimm.study.processes import StudyError

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


OF_EVERY_ARM = ("name", "question")


def check_declared(configs: Mapping[str, Mapping[str, Any]], declared: Sequence[str]) -> None:
    """Refuse arms that differ in a key outside `declared`; StudyError names keys, values and arms.

    Args:
        configs: arm -> resolved configuration.
        declared: dotted keys; a key covers everything below it.
    """
    flat = {arm: flatten(config) for arm, config in configs.items()}
    keys = list(dict.fromkeys(key for config in flat.values() for key in config))
    for name in declared:
        if not any(_covers(name, key) for key in keys):
            guess = nearest(name, {key[: end or None] for key in keys for end in (key.find("."), 0) if end >= 0})
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise StudyError(f"declared_differences: no arm has a setting {name!r}{hint}")
    allowed = (*OF_EVERY_ARM, *declared)
    lines = [
        f"  {key}: {_by_value(flat, key)}"
        for key in keys
        if not any(_covers(name, key) for name in allowed)
        and len({repr(c.get(key, ABSENT)) for c in flat.values()}) > 1
    ]
    if lines:
        advice = "make them equal (`overrides` apply to every arm), or add the keys to declared_differences"
        raise StudyError("\n".join([f"arms differ where the study does not declare it; {advice}:", *lines]))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each dotted key whose value differs."""
    return [
        f"{change.key}: {shown(change.before)} in the folder, {shown(change.after)} in the file"
        for change in differing(old, new)
    ]


def _covers(declared: str, key: str) -> bool:
    return key == declared or key.startswith(f"{declared}.")


def _by_value(flat: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """`1 in a, b; 2 in c`."""
    arms: dict[str, list[str]] = {}
    for arm, config in flat.items():
        arms.setdefault(shown(config.get(key, ABSENT)), []).append(arm)
    return "; ".join(f"{value} in {', '.join(names)}" for value, names in arms.items())
