"""Plans: every arm fully resolved, hashed and frozen in a folder before the first child starts.

`plan.json` is what workers and reports read; the study file is only needed to start or amend. The plan of a study may
grow by amendments; that of a tuning never does: more trials for some arm, or after a look, would be no equal budget.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from unimm.config import differing, flatten, shown
from unimm.files import read_object, stamp
from unimm.runs.planned import (
    NOT_HASHED,
    PLAN_VERSION,
    PlannedArm,
    PlannedResult,
    dealt,
    plan_hash,
    why_no_frozen_plan,
)
from unimm.runs.record import PLAN, RESULT, read_record
from unimm.runs.trial_record import TRIAL, TrialRecord
from unimm.schema import INSTEAD
from unimm.study.layout import PlannedRun, PlannedTrial, Unit, unit_folder
from unimm.study.processes import StudyError

SCHEMA_VERSION = PLAN_VERSION
KIND = "tuning"
OVERALL = "geneval/overall"
PLANNED = "plan"  # of `code`, beside "amendment N"
AGAIN = "copy it again, or delete it and the study makes it again"
RESTORE = "restore it from where it was committed"
SearchedSettings = dict[str, Any]


class Plan(ABC):
    """What plans have in common; fields are declared by the two kinds, in the order in which their files have them.

    `created` is an ISO 8601 time, `hash` that of everything else. `code` is what planned. `verb` is the one of
    `unimm study` that begins it and goes on with it.
    """

    name: str
    question: str
    profile: str
    created: str
    hash: str
    arms: dict[str, PlannedArm]
    overrides: list[str]
    declared_differences: list[str]
    code: dict[str, dict[str, Any]]

    unit: ClassVar[type[Unit]]
    advice: ClassVar[str]
    verb: ClassVar[str]

    @property
    @abstractmethod
    def numbers(self) -> Sequence[int]:
        """The numbers that every arm gets: seeds or trials."""

    @abstractmethod
    def is_done(self, folder: Path, unit: Unit) -> bool:
        """Whether `folder` has what the unit was planned to leave: that file is written last, so it is whole."""

    @property
    @abstractmethod
    def headline(self) -> str:
        """The score that stands for a unit where there is room for one."""

    @abstractmethod
    def score(self, folder: Path, unit: Unit) -> float | None:
        """That score of a finished unit; None where it could not be measured."""

    @abstractmethod
    def extends(self, other: Any, source: Path) -> bool:
        """Whether results of the plan `other`, as `source` stores it, are results of this plan too."""

    @abstractmethod
    def amended_since(self, other: Any) -> bool:
        """Whether this plan, which extends `other`, has more amendments."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path) -> Plan:
        """The plan frozen in a folder; StudyError if there is none of this kind, or one edited or too new."""

    @cached_property
    def units(self) -> list[Unit]:
        """Everything planned, all arms of a number before the next number, so that an early look is balanced."""
        return [self.unit(arm, number) for number in self.numbers for arm in self.arms]

    def content(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        return asdict(cast(Any, self))

    def meaning(self) -> dict[str, Any]:
        """What was planned, every arm as the present schema reads it."""
        arms = {name: {"file": arm.file, "config": arm.current} for name, arm in self.arms.items()}
        left_out = (*NOT_HASHED, "code")  # who planned is no choice of the file
        return {key: value for key, value in self.content().items() if key not in left_out} | {"arms": arms}

    def differences(self, wanted: Plan) -> list[str]:
        """One line for each dotted key that means something else in this plan, of a folder, than in its file's."""
        return [
            f"{change.key}: {shown(change.before)} in the folder, {shown(change.after)} in the file"
            for change in differing(self.meaning(), wanted.meaning())
        ]


@dataclass(frozen=True)
class StudyPlan(Plan):
    """The `plan.json` of a study; `claims` is the claims file.

    `tuned` says which tuning found the settings of which arms, `foundations` the hashes of the parts of each foundation
    that arms stand on, by its name, `dealt` the names of those that seeds take in turn (none where all take one),
    `code` the code that froze the `plan` and each `amendment N`, by package; a plan without them leaves them out.
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
    foundations: dict[str, dict[str, str]] = field(default_factory=dict)
    dealt: list[str] = field(default_factory=list)
    code: dict[str, dict[str, Any]] = field(default_factory=dict)

    unit = PlannedRun
    advice = "restore it, and amend the study file instead"
    verb = "run"

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return self.seeds

    def independent(self, seeds: int) -> int:
        """How many of so many seeds an interval counts: seeds that are dealt one foundation count as one."""
        return min(seeds, len(self.dealt)) if self.dealt else seeds

    def content(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        return _without_empty(super().content(), "tuned", "foundations", "dealt", "code")

    def meaning(self) -> dict[str, Any]:
        """What was planned; what the foundations were is no choice of the file (`unimm.study.foundations`)."""
        left_out = ("foundations", "dealt")
        meant = {key: value for key, value in super().meaning().items() if key not in left_out}
        return meant | ({"foundations": self.dealt} if self.dealt else {})  # as the file calls those that are dealt

    def is_done(self, folder: Path, unit: Unit) -> bool:
        """Whether the run has a result of the planned configuration; a file that stays as it is, is read once."""
        path = unit_folder(folder, unit) / RESULT
        if not path.is_file():
            return False
        found, known = stamp(path), self._known.get(path)
        if known is None or known[0] != found:
            known = self._known[path] = found, self._is_of(path, unit)
        return known[1]

    @cached_property
    def _known(self) -> dict[Path, tuple[tuple[int, int, int], bool]]:
        """Results that were read, by what the file was then, and whether each is of the planned configuration."""
        return {}

    def _is_of(self, path: Path, unit: Unit) -> bool:
        record = read_object(path, AGAIN)
        if not isinstance(record.get("config"), dict):
            raise StudyError(f"{path} holds no config: {AGAIN}")
        arm, on = self.arms[unit.arm], self.foundation_of(unit)
        planned = PlannedResult.of(unit.arm, unit.number, arm, on, self.foundations)
        return planned.why_another(record, path) is None

    @property
    def headline(self) -> str:
        """That of the first claim that has one."""
        claims = self.claims.get("claims", ())
        return next((claim["metric"] for claim in claims if "metric" in claim), OVERALL)

    def score(self, folder: Path, unit: Unit) -> float | None:
        """Read off its result, None where it has none."""
        path = unit_folder(folder, unit) / RESULT
        scores = read_object(path, AGAIN).get("scores", ()) if path.is_file() else ()
        return next((score["value"] for score in scores if score["name"] == self.headline), None)

    def foundation_of(self, unit: Unit) -> str:
        """The foundation that a run stands on: the one dealt to its seed, or else its arm's."""
        own = str(self.arms[unit.arm].config["foundation"])
        return dealt(self.dealt, self.seeds).get(unit.number, own)

    def extends(self, other: StudyPlan, source: Path) -> bool:
        """Whether amendments alone lead from `other`, as `source` stores it, to this plan."""
        amendments, seeds = len(other.amendments), len(other.seeds)
        return (
            self.name == other.name
            and self.amendments[:amendments] == other.amendments
            and self.seeds[:seeds] == other.seeds
            and self.claims == other.claims
            and self.dealt == other.dealt
            and all(self.foundations.get(name, parts) == parts for name, parts in other.foundations.items())
            and all(name in self.arms and self.arms[name].means(arm.config, source) for name, arm in other.arms.items())
        )

    def amended_since(self, other: StudyPlan) -> bool:
        """Whether this plan has more amendments."""
        return len(self.amendments) > len(other.amendments)

    @classmethod
    def read(cls, folder: Path) -> StudyPlan:
        """The plan frozen in a study's folder; StudyError if there is none, or one edited or too new."""
        if not has_plan(folder):
            raise StudyError(f"{folder} holds no study: it has no {PLAN}; start one with `unimm study run STUDY.yaml`")
        if "kind" in (content := _content(folder)):
            raise StudyError(f"{folder} holds a {content['kind']}, not a study")
        return _checked(StudyPlan, folder)


@dataclass(frozen=True)
class TuningPlan(Plan):
    """The `plan.json` of a tuning; `space`, `by_sampling` and `sampler` are as in the file."""

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
    code: dict[str, dict[str, Any]] = field(default_factory=dict)

    unit = PlannedTrial
    advice = "restore it"
    verb = "tune"

    @property
    def numbers(self) -> range:
        """The numbers of the trials."""
        return range(self.trials)

    def content(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        return _without_empty(super().content(), "code")

    def space_of(self, arm: str) -> dict[str, dict[str, Any]]:
        """What is searched for an arm by training."""
        return {key: entry for key, entry in self.space.items() if has(self.arms[arm].config, key)}

    def by_sampling_of(self, arm: str) -> dict[str, list[Any]]:
        """What is chosen for an arm by sampling."""
        return {key: values for key, values in self.by_sampling.items() if has(self.arms[arm].config, key)}

    def config(self, arm: str, params: Mapping[str, Any]) -> SearchedSettings:
        """An arm's resolved configuration for a trial, its seed included."""
        return with_values({**self.arms[arm].config, "seed": self.seed}, params)

    def record_of(self, folder: Path, trial: Unit) -> TrialRecord | None:
        """The trial's record in `folder`, if it was made under this plan."""
        path = unit_folder(folder, trial) / TRIAL
        if not path.is_file():
            return None
        record = read_record(path, TrialRecord, AGAIN)
        return record if record.settings.plan == self.hash else None

    def is_done(self, folder: Path, unit: Unit) -> bool:
        """Whether the trial has a record."""
        return self.record_of(folder, unit) is not None

    @property
    def headline(self) -> str:
        """What the tuning looks for."""
        return self.metric

    def score(self, folder: Path, unit: Unit) -> float | None:
        """The score with the settings that were chosen by sampling."""
        record = self.record_of(folder, unit)
        return None if record is None else record.value

    def extends(self, other: TuningPlan, source: Path) -> bool:
        """Whether `other` is this plan, whenever it was made."""
        return self.hash == other.hash

    def amended_since(self, other: TuningPlan) -> bool:
        """Never."""
        return False

    @classmethod
    def read(cls, folder: Path) -> TuningPlan:
        """The plan frozen in a tuning's folder; StudyError if there is none, or one edited or too new."""
        if not is_tuning(folder):
            raise StudyError(f"{folder} holds no tuning; start one with `unimm study tune TUNING.yaml`")
        return _checked(TuningPlan, folder)


Kind = TypeVar("Kind", StudyPlan, TuningPlan)


def _without_empty(content: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Content without those optional fields that say nothing, as plans of before have it."""
    return {key: value for key, value in content.items() if value or key not in optional}


def hashed(plan: Kind) -> Kind:
    """The plan with the hash of its content."""
    return replace(plan, hash=plan_hash(plan.content()))


def has_plan(folder: Path) -> bool:
    """Whether a plan was frozen in the folder."""
    return (folder / PLAN).is_file()


def is_tuning(folder: Path) -> bool:
    """Whether a folder holds a tuning rather than a study."""
    return has_plan(folder) and _content(folder).get("kind") == KIND


def read_plan(folder: Path) -> StudyPlan | TuningPlan:
    """The plan frozen in a folder, of whichever kind; StudyError as for each."""
    return TuningPlan.read(folder) if is_tuning(folder) else StudyPlan.read(folder)


def _content(folder: Path) -> dict[str, Any]:
    return read_object(folder / PLAN, RESTORE)


def _checked(kind: type[Kind], folder: Path) -> Kind:
    content, path = _content(folder), folder / PLAN
    known = {entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING}
    if not known <= content.keys() or not isinstance(content["schema_version"], int):
        lacks = ", ".join(sorted(known - content.keys())) or "a number of its version"
        raise StudyError(f"{path} lacks {lacks}, so it is no plan: {RESTORE}")
    if problem := why_no_frozen_plan(content, path, kind.advice):
        raise StudyError(problem)
    arms = {name: PlannedArm(**arm) for name, arm in content["arms"].items()}
    return kind(**{**content, "arms": arms})


def has(config: Mapping[str, Any], key: str) -> bool:
    """Whether a resolved configuration has the dotted key: an objective without guidance has no setting for it."""
    return key in flatten(config)


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> SearchedSettings:
    """A copy of a nested configuration with other values at dotted keys that it has.

    A value in the place of another setting's leaves that one null.
    """
    copy: SearchedSettings = json.loads(json.dumps(config))
    replaced = {INSTEAD[key]: None for key, value in values.items() if key in INSTEAD and value is not None}
    for key, value in {**{key: value for key, value in replaced.items() if has(config, key)}, **values}.items():
        *path, leaf = key.split(".")
        section = copy
        for part in path:
            section = section[part]
        assert leaf in section, f"{key} is no setting of {config['name']}"
        section[leaf] = value
    return copy
