"""`tuned.yaml`, which a tuning writes: settings found for every arm with equal budgets, for a study to run beside."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import Field

from unimm.component_config import Strict
from unimm.schema import INSTEAD
from unimm.study.processes import StudyError
from unimm.study.schema import StudyArm, read_file

FILE = "tuned.yaml"
Value = str | bool | int | float | None


class TunedArm(Strict):
    """What one arm's best trial had; `skipped` are searched settings that the arm does not have.

    `value` is its score on the validation prompts, `untuned` that of the arm as it stands (null if it could not be
    measured), `samples` those of all trials together.
    """

    chosen: dict[str, Value]
    skipped: tuple[str, ...]
    trials: int
    samples: int
    untuned: float | None
    value: float


class Tuned(Strict):
    """The content of `tuned.yaml`; `plan` is the hash of the tuning's plan."""

    plan: str
    profile: str
    seed: int
    prompts: int
    metric: str
    by_sampling: tuple[str, ...]
    arms: dict[str, TunedArm] = Field(min_length=1)


def read_tuned(folder: Path) -> Tuned:
    """The outcome of a tuning in its reports' folder.

    Raises:
        ValueError: it is missing or malformed, or arms did not get the same budget; says which.
    """
    path = folder / FILE
    tuned = read_file(path, Tuned, {"arms": TunedArm})
    spent = {name: (arm.trials, arm.samples) for name, arm in tuned.arms.items()}
    if len(set(spent.values())) > 1:
        words = "; ".join(f"{name}: {trials} trials, {samples:,} samples" for name, (trials, samples) in spent.items())
        raise StudyError(f"{path}: arms were tuned with different budgets, so they cannot be compared: {words}")
    return tuned


def check_fits(path: Path, tuned: Tuned, arms: Collection[str], seeds: Collection[int], profile: str) -> None:
    """StudyError unless a study file may use the settings: same profile, every arm tuned, tuning's seed left alone."""
    if tuned.profile != profile:
        raise StudyError(f"{path}: tuned: settings were found for profile {tuned.profile}, this study has {profile}")
    missing = [name for name in arms if name not in tuned.arms]
    if missing:
        raise StudyError(f"{path}: tuned: {', '.join(missing)} not tuned; tune every arm or none, with equal budgets")
    if tuned.seed in seeds:
        raise StudyError(f"{path}: seed {tuned.seed} was tuned on and cannot be reported; choose another")


def tuned_arm(arm: StudyArm, name: str, found: TunedArm) -> StudyArm:
    """The arm once more, as `NAME_tuned`."""
    replaced = {INSTEAD[key]: None for key, value in found.chosen.items() if key in INSTEAD and value is not None}
    overrides = tuple(f"{key}={_grammar(value)}" for key, value in {**replaced, **found.chosen}.items())
    return StudyArm(file=arm.file, name=f"{name}_tuned", overrides=(*arm.overrides, *overrides))


def entry(folder: str, tuned: Tuned, names: Collection[str]) -> dict[str, Any]:
    """The tuning as a study's `plan.json` holds it, by tuned arm."""
    arms = {
        f"{name}_tuned": {"of": name, "chosen": tuned.arms[name].chosen, "skipped": list(tuned.arms[name].skipped)}
        for name in names
    }
    spent = next(iter(tuned.arms.values()))
    return {
        "folder": folder,
        **tuned.model_dump(mode="json", include={"plan", "seed", "prompts", "metric", "by_sampling"}),
        "trials": spent.trials,
        "samples": spent.samples,
        "arms": arms,
    }


def _grammar(value: Value) -> str:
    """A value in the grammar of overrides."""
    return f'"{value}"' if isinstance(value, str) else json.dumps(value)
