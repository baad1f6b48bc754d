"""The files of studies and tunings, and what is wrong with one: arms, what they share and where they may differ.

A study file: which arms with which seeds, and what is claimed beforehand.

question: Which features should the backbone predict?
profile: nano
seeds: 3                                       # seeds 0, 1, 2; or a list
arms:                                          # files beside this one, or {file, name, overrides}, or a grid:
  start: ../clip_fm.yaml                       #   every combination of the factors, started from one arm file
  grid: {encoder: [clip, vae], objective: {fm: flow_matching, mse: mse}}  # labels name the arms: clip_fm, ...
overrides: [settings=published]                # for every arm
foundations: [scenes-nano-2, scenes-nano-2-draw1, scenes-nano-2-draw2]  # dealt to seeds in turn, in every arm alike
declared_differences: [head]                   # besides the factors of a grid
tuned: ../../reports/tuning                    # every arm once more with the settings that `unimm study tune` found
claims: claims.yaml
amendments: [{date: 2026-12-01, reason: intervals are too wide, seeds: [3, 4]}]

A tuning file: which arms, which settings are searched, and the budget that every arm gets.

question: With which settings is each arm at its best, given equally many trials?
profile: nano
arms: [../clip_fm.yaml, ../vae_mse.yaml]     # as in a study file
seed: 9000                                   # no study that uses the result may have it among its seeds
trials: 8                                    # an arm; the first is the arm as it stands
samples: 16000                               # a trial
prompts: 25                                  # validation prompts a task
metric: atoms/overall
sampler: {name: tpe, seed: 0, startup: 4}
space:                                       # needs training; an arm that lacks a setting skips it
  training.learning_rate: {low: 3.0e-4, high: 3.0e-3, log: true}
  objective.shift: {low: 0.5, high: 6.0, log: true}
by_sampling:                                 # chosen from each trial's weights, without training again
  training.ema_length: [0.05, 0.2]
  objective.guidance: [1.0, 2.0, 3.0, 5.0]
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from unimm.analysis.claims import Claims
from unimm.component_config import Strict
from unimm.config_errors import problems
from unimm.registry import nearest
from unimm.schema import INSTEAD, RunConfig, Seed
from unimm.strict_yaml import read_yaml
from unimm.study.processes import StudyError

Scalar = str | bool | int | float
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1)]
Model = TypeVar("Model", bound=BaseModel)
TAGS = ("list", "grid", "range", "choices")  # pydantic's own words in the places of problems
BUDGET = ("training.samples", "training.snapshots", "evaluation.curve_prompts")
SAMPLING_ONLY = (
    "training.ema_decay",
    "training.ema_length",
    "objective.guidance",
    "objective.steps",
    "objective.temperature",
)
MOST_SEEDS = 10_000
OWN_KEYS = {"profile": "profile", "seed": "seeds", "name": "an arm's name"}
FOUNDATION = "foundation"


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0].strip()


def own_overrides(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides without the keys that a study file has a place for; ValueError names that place."""
    for text in overrides:
        key = _key(text)
        if key in OWN_KEYS:
            raise ValueError(f"{text}: the study decides this; set {OWN_KEYS[key]} instead")
    return overrides


class StudyArm(Strict):
    """One arm file, perhaps under another name and with overrides of its own."""

    file: str
    name: str | None = None
    overrides: tuple[str, ...] = ()

    _own = field_validator("overrides")(own_overrides)


def _labelled(factor: Any) -> Any:
    """A list of values labels each with itself."""
    return {str(value): value for value in factor} if isinstance(factor, list) else factor


class GridArms(Strict):
    """Every combination of `grid`'s factors, key -> label -> value; labels, joined by _, name the arms."""

    start: str
    grid: dict[str, Annotated[dict[str, Scalar], BeforeValidator(_labelled), Field(min_length=1)]] = Field(min_length=1)


def _file_arm(entry: Any) -> Any:
    return {"file": entry} if isinstance(entry, str) else entry


ListedArms = tuple[Annotated[StudyArm, BeforeValidator(_file_arm)], ...]
Arms = Annotated[
    Annotated[ListedArms, Tag("list"), Field(min_length=1)] | Annotated[GridArms, Tag("grid")],
    Discriminator(lambda value: "grid" if isinstance(value, Mapping | GridArms) else "list"),
]


def _numbered(value: Any) -> Any:
    """Seeds 0 to n - 1 of a number n; ValueError instead of a list that no memory holds."""
    if type(value) is not int:
        return value
    if value > MOST_SEEDS:
        raise ValueError(f"{value} is more than {MOST_SEEDS:,} seeds; give fewer, or a list such as [{value}] of one")
    return range(value)


class Amendment(Strict):
    """More seeds or more arms, decided after the first runs, and why."""

    date: datetime.date
    reason: str = Field(min_length=1)
    seeds: tuple[Seed, ...] = ()
    arms: ListedArms = ()

    @model_validator(mode="after")
    def _changes_something(self) -> Amendment:
        if not self.seeds and not self.arms:
            raise ValueError("adds nothing; give it seeds or arms")
        return self


class StudyFile(Strict):
    """The content of a study file; its name is the file's name.

    Seed number i, those of amendments after those of the plan, stands on foundation i modulo their number in every arm.
    """

    question: str = Field(min_length=1)
    profile: str
    foundations: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seeds: Annotated[Seeds, BeforeValidator(_numbered)]
    arms: Arms
    overrides: tuple[str, ...] = ()
    declared_differences: tuple[str, ...] = ()
    tuned: str | None = None
    claims: str
    amendments: tuple[Amendment, ...] = ()

    _own = field_validator("overrides")(own_overrides)

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of the plan and of its amendments."""
        return [*self.seeds, *(seed for amendment in self.amendments for seed in amendment.seeds)]

    @model_validator(mode="after")
    def _seeds_differ(self) -> StudyFile:
        seeds = self.all_seeds
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seed {', '.join(map(str, twice))} is given twice; a run is made once")
        return self

    @model_validator(mode="after")
    def _foundations_are_dealt(self) -> StudyFile:
        """Every foundation gets as many seeds, at every time, and nothing else chooses one."""
        if self.foundations is None:
            return self
        number = len(self.foundations)
        if len(set(self.foundations)) < number:
            raise ValueError("foundations: one is given twice, and would count as two draws; leave one out")
        for seeds, where in [(self.seeds, "seeds"), *((each.seeds, "an amendment") for each in self.amendments)]:
            if len(seeds) % number:
                more = number - len(seeds) % number
                raise ValueError(
                    f"foundations: {where} gives {len(seeds)} to {number} foundations, of which every one takes as "
                    f"many, so that all weigh alike; add {more} or leave some foundations out"
                )
        if other := self._chooses_foundation():
            raise ValueError(f"foundations: every seed is dealt one of these, so drop {other}")
        return self

    def _chooses_foundation(self) -> str | None:
        """What else of the file would choose a foundation; arm files are looked at when they are read."""
        is_grid = isinstance(self.arms, GridArms)
        if isinstance(self.arms, GridArms) and FOUNDATION in self.arms.grid:
            return f"{FOUNDATION} from the grid"
        if FOUNDATION in self.declared_differences:
            return f"{FOUNDATION} from declared_differences"
        listed = [*(() if is_grid else self.arms), *(arm for each in self.amendments for arm in each.arms)]
        places = {"overrides": self.overrides}
        places |= {f"the overrides of {arm.name or arm.file}": arm.overrides for arm in listed}
        found = ((text, where) for where, texts in places.items() for text in texts if _key(text) == FOUNDATION)
        return next((f"{text} from {where}" for text, where in found), None)


class Range(Strict):
    """A real number from `low` to `high`, searched on a logarithmic scale where `log` is set."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ascends(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low has to be below high, and above 0 on a logarithmic scale")
        return self

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values at which every arm has to be valid."""
        return (self.low, self.high)


class Choices(Strict):
    """One of several values."""

    choices: tuple[Scalar, ...] = Field(min_length=2)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values at which every arm has to be valid."""
        return self.choices


def _kind_of_entry(value: Any) -> str | None:
    if not isinstance(value, Mapping | Range | Choices):
        return None
    return "choices" if isinstance(value, Choices) or (isinstance(value, Mapping) and "choices" in value) else "range"


Entry = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(
        _kind_of_entry,
        custom_error_type="no_entry",
        custom_error_message="write {low: A, high: B}, with log: true for a logarithmic scale, or {choices: [A, B]}",
    ),
]


class Sampler(Strict):
    """How settings are proposed: `random`, or `tpe` after `startup` random trials; alike for every arm."""

    name: Literal["tpe", "random"]
    seed: NonNegativeInt = 0
    startup: PositiveInt = 4


class TuningFile(Strict):
    """The content of a tuning file; its name is the file's name."""

    question: str = Field(min_length=1)
    profile: str
    arms: ListedArms = Field(min_length=1)
    overrides: tuple[str, ...] = ()
    declared_differences: tuple[str, ...] = ()
    seed: Seed
    trials: int = Field(ge=2)
    samples: PositiveInt
    prompts: PositiveInt
    metric: str = Field(pattern=r"^((atoms|geneval)(_place|_long)?|geneval\[.+\])/overall$")
    sampler: Sampler
    space: dict[str, Entry] = Field(min_length=1)
    by_sampling: dict[str, tuple[Scalar, ...]] = Field(default={})

    _own = field_validator("overrides")(own_overrides)

    @model_validator(mode="before")
    @classmethod
    def _one_foundation(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and "foundations" in content:
            raise ValueError(
                f"foundations: a tuning has one seed and stands on one foundation; write {FOUNDATION}=NAME in overrides"
            )
        return content

    @model_validator(mode="after")
    def _budget_is_equal(self) -> TuningFile:
        fixed = sorted({*self.space, *self.by_sampling} & set(BUDGET))
        if fixed:
            raise ValueError(f"{', '.join(fixed)}: every arm gets the same budget; set `samples` and `prompts`")
        trained = sorted(set(self.by_sampling) - set(SAMPLING_ONLY))
        if trained:
            known = ", ".join(SAMPLING_ONLY)
            raise ValueError(
                f"by_sampling: {', '.join(trained)} needs training again; move it to space ({known} do not)"
            )
        twice = sorted(set(self.space) & set(self.by_sampling))
        if twice:
            raise ValueError(f"{', '.join(twice)} is in space and in by_sampling; choose one")
        searched = [*self.space, *self.by_sampling]
        for key in searched:
            if INSTEAD.get(key) in searched:
                raise ValueError(f"{key} and {INSTEAD[key]} take each other's place, so that one is void; search one")
        return self


# What each kind of file is called, and what is done with it.
KINDS_OF_FILES: Mapping[type[BaseModel], tuple[str, str]] = {
    StudyFile: ("a study file", "run it with `unimm study run {}`"),
    TuningFile: ("a tuning file", "run it with `unimm study tune {}`"),
    Claims: ("a claims file", "give the study file whose `claims` names it"),
    RunConfig: ("an arm's file", "run it with `unimm run {}`, or name it under `arms` of a study file"),
}


def read_study(path: Path) -> StudyFile:
    """The study in a YAML file; StudyError or ConfigError has one line for each problem."""
    return read_file(path, StudyFile, {"arms": StudyArm, "amendments": Amendment})


def read_tuning(path: Path) -> TuningFile:
    """The tuning in a YAML file; StudyError or ConfigError has one line for each problem."""
    return read_file(path, TuningFile, {"arms": StudyArm, "sampler": Sampler, "space": Range})


def read_file(path: Path, model: type[Model], parts: Mapping[str, type[BaseModel]]) -> Model:
    """A YAML file as a model, whose keys `parts` says what they hold; StudyError has one line for each problem."""
    content = read_yaml(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        refuse_another(path, content, model)
        lines = [f"{path}: {_line(problem, model, parts)}" for problem in problems(error)]
        raise StudyError("\n".join(lines)) from error


def refuse_another(path: Path, content: Mapping[str, Any], wanted: type[BaseModel]) -> None:
    """StudyError where a file of another kind was given, with the command that takes it."""
    for other, (what, command) in KINDS_OF_FILES.items():
        fields = {*other.model_fields, "defaults"}
        if content.keys() <= fields and content.keys() & (fields - wanted.model_fields.keys()):
            raise StudyError(f"{path} is {what}: {command.format(path)}")


def _line(problem: Mapping[str, Any], model: type[BaseModel], parts: Mapping[str, type[BaseModel]]) -> str:
    loc = [str(part) for part in problem["loc"] if part not in TAGS or part == problem["loc"][-1]]
    key = ".".join(loc)
    if problem["type"] == "missing":
        return f"{key}: is required"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    fields = list((parts[loc[0]] if len(loc) > 1 else model).model_fields)
    guess = nearest(loc[-1], fields)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{key}: nothing reads this key; {hint}choices: {', '.join(fields)}"
