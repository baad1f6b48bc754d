"""A study file: which arms with which seeds, what they share, where they may differ, and what is claimed beforehand.

question: Which features should the backbone predict?
profile: nano
seeds: 3                                       # seeds 0, 1, 2; or a list
arms:                                          # files beside this one, or {file, name, overrides}, or a grid:
  start: ../clip_fm.yaml                       #   every combination of the factors, started from one arm file
  grid: {encoder: [clip, vae], objective: {fm: flow_matching, mse: mse}}  # labels name the arms: clip_fm, ...
overrides: [settings=published]                # for every arm
declared_differences: [head]                   # besides the factors of a grid
tuned: ../../reports/tuning                    # every arm once more with the settings that `unimm study tune` found
claims: claims.yaml
amendments: [{date: 2026-12-01, reason: intervals are too wide, seeds: [3, 4]}]
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    NonNegativeInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from unimm.config_errors import read_yaml
from unimm.registry import nearest
from unimm.schema import Strict
from unimm.study.processes import StudyError

Scalar = str | bool | int | float
Seeds = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
Model = TypeVar("Model", bound=BaseModel)
TAGS = ("list", "grid", "range", "choices")  # pydantic's own words in the places of problems
OWN_KEYS = {"profile": "profile", "seed": "seeds", "name": "an arm's name"}


def own_overrides(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides without the keys that a study file has a place for; ValueError names that place."""
    for text in overrides:
        key = text.lstrip("+").partition("=")[0].strip()
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


class Amendment(Strict):
    """More seeds or more arms, decided after the first runs, and why."""

    date: datetime.date
    reason: str = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = ()
    arms: ListedArms = ()

    @model_validator(mode="after")
    def _changes_something(self) -> Amendment:
        if not self.seeds and not self.arms:
            raise ValueError("adds nothing; give it seeds or arms")
        return self


class Study(Strict):
    """The content of a study file; its name is the file's name."""

    question: str = Field(min_length=1)
    profile: str
    seeds: Annotated[Seeds, BeforeValidator(lambda value: range(value) if type(value) is int else value)]
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
    def _seeds_differ(self) -> Study:
        seeds = self.all_seeds
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seed {', '.join(map(str, twice))} is given twice; a run is made once")
        return self


def read_study(path: Path) -> Study:
    """The study in a YAML file; StudyError or ConfigError has one line for each problem."""
    return read_file(path, Study, {"arms": StudyArm, "amendments": Amendment})


def read_file(path: Path, model: type[Model], parts: Mapping[str, type[BaseModel]]) -> Model:
    """A YAML file as a model, whose keys `parts` says what they hold; StudyError has one line for each problem."""
    content = read_yaml(path)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [f"{path}: {_line(problem, model, parts)}" for problem in error.errors()]
        raise StudyError("\n".join(lines)) from error


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
