"""Whether a plan is what was frozen, and a run what was planned: who hands out runs and who reports them ask the same.

A plan carries the hash of everything that was planned, h = SHA-256(plan without `created` and `hash`), cut to 16
digits; each of its arms carries that of its configuration without the seed. A run belongs to an arm and a seed if its
record says so and its configuration means what was planned, and if it stands on the foundation that the plan names.

A plan may deal several foundations to its seeds: seed number i stands on foundation i modulo their number, in every arm
alike, so that arms are compared seed by seed on the same pretrained parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from unimm.config import ABSENT, ConfigDifference, current, differing, shown
from unimm.runs.record import PLAN, RESULT
from unimm.strict_yaml import ConfigError

PLAN_VERSION = 1
NOT_HASHED = ("created", "hash")
NAMED = 4


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


def why_no_frozen_plan(content: Mapping[str, Any], path: Path, advice: str) -> str | None:
    """Why the content of `path` is not what was frozen, or None if it is: too new, or its hash does not hold."""
    version = content.get("schema_version", PLAN_VERSION)
    if version > PLAN_VERSION:
        return f"{path} has version {version}: install the unimm that wrote it"
    if plan_hash(content) != content.get("hash"):
        return f"{path} was edited: its hash does not hold; {advice}"
    return None


def dealt(foundations: Sequence[str], seeds: Sequence[int]) -> dict[int, str]:
    """Seed -> the foundation that it stands on in every arm, in the order of both; empty where none are dealt."""
    return dict(zip(seeds, cycle(foundations), strict=False))


@dataclass(frozen=True)
class PlannedArm:
    """The file an arm came from, and its resolved configuration without the seed, with the hash of that."""

    file: str
    hash: str
    config: dict[str, Any]

    def on(self, foundation: str) -> PlannedArm:
        """The arm on a foundation, which may be another one than its configuration names."""
        if foundation == self.config["foundation"]:
            return self
        config = {**self.config, "foundation": foundation}
        return PlannedArm(self.file, config_hash(config), config)

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
        return current(self.config, Path(f"{PLAN}, arm {self.config['name']}"))

    def differences(self, config: Mapping[str, Any], source: Path) -> list[ConfigDifference]:
        """Where a run's configuration is another than this, its seed aside: as written if nothing reads one of them."""
        ran = {key: value for key, value in config.items() if key != "seed"}
        changes = differing(self.config, ran)
        if any(ABSENT in (change.before, change.after) for change in changes):
            with suppress(ConfigError):
                changes = differing(self.current, current(ran, source))
        return changes


@dataclass(frozen=True)
class PlannedResult:
    """What the record of a planned run has to say; `parts` are the hashes of its foundation's parts, if planned."""

    name: str
    seed: int
    arm: PlannedArm
    parts: Mapping[str, str]

    @classmethod
    def of(
        cls, name: str, seed: int, arm: PlannedArm, on: str, foundations: Mapping[str, Mapping[str, str]]
    ) -> PlannedResult:
        """Of the arm on the foundation `on`; `foundations` are the hashes of each one's parts, as far as planned."""
        return cls(name, seed, arm.on(on), foundations.get(on, {}))

    def why_another(self, record: Mapping[str, Any], source: Path) -> str | None:
        """Why the content of a `result.json` is not of this run, or None if it is.

        Raises:
            ConfigError: the present schema cannot read one of the configurations; names the key.
        """
        config = record["config"]
        named = record.get("arm"), record.get("seed")
        if named != (self.name, self.seed):
            return f"{RESULT} is of {named[0]} seed {named[1]}"
        if config.get("seed") != self.seed:
            return f"its configuration has seed {config.get('seed')}"
        if not self.arm.means(config, source):
            changes = [
                f"{change.key} is {shown(change.after)} and was planned as {shown(change.before)}"
                for change in self.arm.differences(config, source)
            ]
            more = [f"{len(changes) - NAMED} more keys"] if len(changes) > NAMED else []
            return f"not the planned configuration: {', '.join([*changes[:NAMED], *more])}"
        others = [part for part, value in self.parts.items() if record.get("hashes", {}).get(part) != value]
        if others:
            return f"made on another foundation than the planned one: {', '.join(others)} have other hashes"
        return None
