"""From a study file to its plan: arms expanded and resolved, differences checked, claims read, all of it hashed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from unimm.analysis.claims_file import Vocabulary, read_claims
from unimm.config import load
from unimm.strict_yaml import read_yaml
from unimm.study.differences import check_declared
from unimm.study.errors import StudyError
from unimm.study.plan import SCHEMA_VERSION, Plan, PlannedArm, config_hash, plan_hash
from unimm.study.schema import Amendment, GridArms, Study, StudyArm, read_study


class _Anything(tuple[str, ...]):
    """Metrics may come from plug-ins, guards and facts from whoever reads the results: the plan cannot know them."""

    def __contains__(self, name: object) -> bool:
        return True


def expand(path: Path, amendments: int | None = None) -> Plan:
    """The plan of a study file, up to its first `amendments` amendments (all of them by default).

    Raises:
        ValueError: the study, an arm or a claim is wrong, or arms differ where no difference is declared.
    """
    study = read_study(path)
    applied = study.amendments[:amendments]
    arms: dict[str, PlannedArm] = {}
    _add(arms, path, study, _listed(study))
    entries = [_entry(amendment, _add(arms, path, study, amendment.arms)) for amendment in applied]
    declared = [*(study.arms.grid if isinstance(study.arms, GridArms) else ()), *study.declared_differences]
    try:
        check_declared({name: arm.config for name, arm in arms.items()}, declared)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error
    return hashed(
        Plan(
            schema_version=SCHEMA_VERSION,
            name=path.stem,
            question=study.question,
            profile=study.profile,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            hash="",
            seeds=[*study.seeds, *(seed for amendment in applied for seed in amendment.seeds)],
            arms=arms,
            overrides=list(study.overrides),
            declared_differences=declared,
            claims=_claims(path.parent / study.claims, list(arms)),
            amendments=entries,
        )
    )


def hashed(plan: Plan) -> Plan:
    """The plan with the hash of its content."""
    return Plan(**{**vars(plan), "hash": plan_hash(plan.content())})


def _listed(study: Study) -> Iterator[StudyArm]:
    """The arms of a list as they are, those of a grid as overrides of its start."""
    if not isinstance(study.arms, GridArms):
        yield from study.arms
        return
    factors = study.arms.grid
    for labels in product(*factors.values()):
        overrides = tuple(f"{key}={factors[key][label]}" for key, label in zip(factors, labels, strict=True))
        yield StudyArm(file=study.arms.start, name="_".join(filter(None, labels)), overrides=overrides)


def _add(arms: dict[str, PlannedArm], path: Path, study: Study, added: Iterable[StudyArm]) -> list[str]:
    """Put resolved arms under their names into `arms`; returns the names."""
    names = []
    for arm in added:
        name, planned = _resolve(path, study, arm)
        if name in arms:
            raise StudyError(f"{path}: two arms are called {name!r}; give one of them another `name`")
        arms[name] = planned
        names.append(name)
    return names


def _resolve(path: Path, study: Study, arm: StudyArm) -> tuple[str, PlannedArm]:
    """Name and resolved configuration of one arm."""
    config = load(path.parent / arm.file, [f"profile={study.profile}", *study.overrides, *arm.overrides])
    name = arm.name or config.name
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise StudyError(f"{path}: an arm's name is a folder's too: {name!r} needs letters, digits, _ . - only")
    resolved: dict[str, Any] = config.model_copy(update={"name": name}).model_dump(mode="json")
    del resolved["seed"]
    if isinstance(study.arms, GridArms):
        resolved["question"] = study.question
    return name, PlannedArm(arm.file, config_hash(resolved), resolved)


def _claims(path: Path, arms: list[str]) -> dict[str, Any]:
    """The claims file as it is, once its claims are known to be valid and to name arms of this study."""
    read_claims(path, Vocabulary(arms=arms, metrics=_Anything(), guards=_Anything(), facts=_Anything()))
    return read_yaml(path)


def _entry(amendment: Amendment, arms: list[str]) -> dict[str, Any]:
    """An amendment as `plan.json` holds it."""
    added = [f"seed {seed}" for seed in amendment.seeds] + [f"arm {arm}" for arm in arms]
    return {"date": amendment.date.isoformat(), "reason": amendment.reason, "change": f"added {', '.join(added)}"}
