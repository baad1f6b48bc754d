"""From a study file to its plan: arms expanded and resolved, differences checked, claims read, all of it hashed.

Arms of a study or of a tuning, resolved from their files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from unimm.analysis.claims import Invariant, Reach, Vocabulary, read_claims
from unimm.config import load
from unimm.config_errors import read_yaml
from unimm.study.plan import SCHEMA_VERSION, Plan, PlannedArm, check_declared, config_hash, plan_hash
from unimm.study.processes import StudyError
from unimm.study.schema import Amendment, GridArms, Study, StudyArm, read_study
from unimm.study.tuned import check_fits, entry, read_tuned, tuned_arm


def add_arms(
    arms: dict[str, PlannedArm],
    path: Path,
    overrides: Sequence[str],
    added: Iterable[StudyArm],
    question: str | None = None,
) -> list[str]:
    """Put resolved arms under their names into `arms`; returns the names.

    Args:
        arms: what is there already.
        path: the study file, beside which arm files are found.
        overrides: for every arm, below its own.
        added: the arms.
        question: theirs, where several come from one file.

    Raises:
        ValueError: a name is taken or is none for a folder, or an arm is not valid.
    """
    names = []
    for arm in added:
        config = load(path.parent / arm.file, [*overrides, *arm.overrides])
        name = arm.name or config.name
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise StudyError(f"{path}: an arm's name is a folder's too: {name!r} needs letters, digits, _ . - only")
        if name in arms:
            raise StudyError(f"{path}: two arms are called {name!r}; give one of them another `name`")
        resolved: dict[str, Any] = config.model_copy(update={"name": name}).model_dump(mode="json")
        del resolved["seed"]
        if question is not None:
            resolved["question"] = question
        arms[name] = PlannedArm(arm.file, config_hash(resolved), resolved)
        names.append(name)
    return names


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
    overrides = [f"profile={study.profile}", *study.overrides]
    question = study.question if isinstance(study.arms, GridArms) else None
    listed = list(_listed(study))
    names = add_arms(arms, path, overrides, listed, question)
    tuned = read_tuned(path.parent / study.tuned) if study.tuned else None
    if tuned is not None:
        check_fits(path, tuned, names, study.all_seeds, study.profile)
        again = [tuned_arm(arm, name, tuned.arms[name]) for arm, name in zip(listed, names, strict=True)]
        add_arms(arms, path, overrides, again, question)
    entries = [_entry(amendment, add_arms(arms, path, overrides, amendment.arms, question)) for amendment in applied]
    searched = dict.fromkeys(key for name in names for key in tuned.arms[name].chosen) if tuned else ()
    factors = study.arms.grid if isinstance(study.arms, GridArms) else ()
    declared = list(dict.fromkeys([*factors, *study.declared_differences, *searched]))
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
            claims=_claims(path.parent / study.claims, list(arms), [f"{name}_tuned" for name in names if tuned]),
            amendments=entries,
            tuned=entry(study.tuned, tuned, names) if study.tuned and tuned else {},
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


def _claims(path: Path, arms: list[str], tuned: Collection[str]) -> dict[str, Any]:
    """The claims file as it is, once its claims are known to be valid and to name arms of this study."""
    claims = read_claims(path, Vocabulary(arms=arms, metrics=_Anything(), guards=_Anything(), facts=_Anything()))
    for claim in claims.claims:
        chosen = [name for _, kind, name in claim.references() if kind == "arms" and name in tuned]
        if chosen and not isinstance(claim, Invariant) and (isinstance(claim, Reach) or claim.budget == "flops"):
            raise StudyError(
                f"{path}: claim {claim.id!r}: {', '.join(chosen)}: this claim is read off learning curves, whose "
                "validation prompts chose the tuned settings; claim it at equal generation_samples, or of untuned arms"
            )
    return read_yaml(path)


def _entry(amendment: Amendment, arms: list[str]) -> dict[str, Any]:
    """An amendment as `plan.json` holds it."""
    added = [f"seed {seed}" for seed in amendment.seeds] + [f"arm {arm}" for arm in arms]
    return {"date": amendment.date.isoformat(), "reason": amendment.reason, "change": f"added {', '.join(added)}"}
