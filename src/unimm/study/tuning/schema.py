"""A tuning file: which arms, which settings are searched, and the budget that every arm gets.

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
  training.ema_decay: [0.99, 0.999]
  objective.guidance: [1.0, 2.0, 3.0, 5.0]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, field_validator, model_validator

from unimm.schema import Strict
from unimm.study.schema import ListedArms, Scalar, StudyArm, own_overrides, read_file

BUDGET = ("training.samples", "training.snapshots", "evaluation.curve_prompts")
SAMPLING_ONLY = ("training.ema_decay", "objective.guidance", "objective.steps")


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


Entry = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")],
    Discriminator(lambda value: "choices" if isinstance(value, Choices) or "choices" in dict(value) else "range"),
]


class Sampler(Strict):
    """How settings are proposed: `random`, or `tpe` after `startup` random trials; alike for every arm."""

    name: Literal["tpe", "random"]
    seed: NonNegativeInt = 0
    startup: PositiveInt = 4


class Tuning(Strict):
    """The content of a tuning file; its name is the file's name."""

    question: str = Field(min_length=1)
    profile: str
    arms: ListedArms = Field(min_length=1)
    overrides: tuple[str, ...] = ()
    declared_differences: tuple[str, ...] = ()
    seed: NonNegativeInt
    trials: int = Field(ge=2)
    samples: PositiveInt
    prompts: PositiveInt
    metric: Literal["atoms/overall", "geneval/overall"]
    sampler: Sampler
    space: dict[str, Entry] = Field(min_length=1)
    by_sampling: dict[str, tuple[Scalar, ...]] = Field(default={})

    _own = field_validator("overrides")(own_overrides)

    @model_validator(mode="after")
    def _budget_is_equal(self) -> Tuning:
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
        return self


def read_tuning(path: Path) -> Tuning:
    """The tuning in a YAML file; StudyError or ConfigError has one line for each problem."""
    return read_file(path, Tuning, {"arms": StudyArm, "sampler": Sampler, "space": Range})
