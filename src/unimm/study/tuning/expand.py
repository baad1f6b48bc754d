"""From a tuning file to its plan: arms resolved with the same budget, every searched value valid for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from unimm.config import current, flatten
from unimm.registry import nearest
from unimm.study.expand import add_arms
from unimm.study.plan import PlannedArm, check_declared
from unimm.study.processes import StudyError
from unimm.study.tuning.plan import KIND, SCHEMA_VERSION, TuningPlan, has, hashed, with_values
from unimm.study.tuning.schema import Tuning, read_tuning


def expand(path: Path) -> TuningPlan:
    """The plan of a tuning file.

    Raises:
        ValueError: an arm or a searched value is wrong, no arm has a searched setting, or arms differ undeclared.
    """
    tuning = read_tuning(path)
    budget = [
        f"training.samples={tuning.samples}",
        "training.snapshots=0",
        f"evaluation.curve_prompts={tuning.prompts}",
    ]
    arms: dict[str, PlannedArm] = {}
    add_arms(arms, path, [f"profile={tuning.profile}", *tuning.overrides, *budget], tuning.arms)
    staged = [name for name, arm in arms.items() if arm.config["stages"]]
    if staged:
        raise StudyError(f"{path}: {', '.join(staged)}: a trial trains one stage; leave `stages` out, or run a study")
    try:
        check_declared({name: arm.config for name, arm in arms.items()}, tuning.declared_differences)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error
    _check_searched(path, tuning, arms)
    return hashed(
        TuningPlan(
            schema_version=SCHEMA_VERSION,
            kind=KIND,
            name=path.stem,
            question=tuning.question,
            profile=tuning.profile,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            hash="",
            seed=tuning.seed,
            trials=tuning.trials,
            samples=tuning.samples,
            prompts=tuning.prompts,
            metric=tuning.metric,
            sampler=tuning.sampler.model_dump(mode="json"),
            space={key: entry.model_dump(mode="json") for key, entry in tuning.space.items()},
            by_sampling={key: list(values) for key, values in tuning.by_sampling.items()},
            arms=arms,
            overrides=list(tuning.overrides),
            declared_differences=list(tuning.declared_differences),
        )
    )


def _check_searched(path: Path, tuning: Tuning, arms: dict[str, PlannedArm]) -> None:
    """Every searched setting exists in some arm, and its values are valid in all that have it."""
    values = {key: entry.ends for key, entry in tuning.space.items()} | tuning.by_sampling
    for key, ends in values.items():
        owners = [arm for arm in arms.values() if has(arm.config, key)]
        if not owners:
            guess = nearest(key, {known for arm in arms.values() for known in flatten(arm.config)})
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise StudyError(f"{path}: no arm has a setting {key!r}{hint}")
        for arm in owners:
            for value in ends:
                current(with_values(arm.config, {key: value}), path)
