"""From a study or tuning file to its plan: arms resolved, differences checked, claims read, all of it hashed.

A tuning's arms get the same budget, and every searched value has to be valid for them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm.analysis.claims import Invariant, Reach, Vocabulary, read_claims
from unimm.config import ABSENT, current, flatten, load, shown
from unimm.evaluation.words import BUILT_IN, condition_of, judge_of
from unimm.registry import metrics, nearest
from unimm.report.study.evidence import FACTS, GUARDS
from unimm.runs.code import code_for
from unimm.runs.planned import PlannedArm, config_hash
from unimm.sampling_config import SamplingConfig
from unimm.schema import INSTEAD, LEFT_OUT, check_chosen
from unimm.strict_yaml import read_yaml
from unimm.study.foundations import deal, foundations_of
from unimm.study.plan import KIND, PLANNED, SCHEMA_VERSION, StudyPlan, TuningPlan, has, hashed, with_values
from unimm.study.processes import StudyError
from unimm.study.schema import Amendment, GridArms, StudyArm, StudyFile, TuningFile, read_study, read_tuning
from unimm.study.tuned import check_fits, entry, read_tuned, tuned_arm

if TYPE_CHECKING:
    from unimm.evaluation.metric import Metric

PACKAGE = "unimm"
OF_EVERY_ARM = ("name", "question")


def expand_study(path: Path, amendments: int | None = None) -> StudyPlan:
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
    chosen = [key for name in names for key in tuned.arms[name].chosen] if tuned else []
    replaced = [INSTEAD[key] for key in chosen if key in INSTEAD]
    searched = [key for key in (*chosen, *replaced) if any(has(arm.config, key) for arm in arms.values())]
    factors = study.arms.grid if isinstance(study.arms, GridArms) else ()
    declared = list(dict.fromkeys([*factors, *study.declared_differences, *searched]))
    check_declared(path, arms, declared)
    dealt = list(study.foundations or ())
    if dealt:
        arms = deal(path, arms, dealt)
    return hashed(
        StudyPlan(
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
            claims=_claims(path.parent / study.claims, arms, [f"{name}_tuned" for name in names if tuned]),
            amendments=entries,
            tuned=entry(study.tuned, tuned, names) if study.tuned and tuned else {},
            foundations=foundations_of(arms.values(), dealt),
            dealt=dealt if len(dealt) > 1 else [],
            code=_code(arms.values()),
        )
    )


def expand_tuning(path: Path) -> TuningPlan:
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
    check_declared(path, arms, tuning.declared_differences)
    arms = _spelled_out(arms, [*tuning.space, *tuning.by_sampling])
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
            code=_code(arms.values()),
        )
    )


def _code(arms: Iterable[PlannedArm]) -> dict[str, dict[str, Any]]:
    """The code that plans, of unimm and of every plug-in package that an arm takes a component from."""
    found = {name: code for arm in arms for name, code in code_for(arm.config).items()}
    return {PLANNED: {name: code.model_dump(mode="json") for name, code in found.items()}}


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
        try:
            check_chosen(config)
        except ValueError as error:
            raise StudyError(f"{path}: {arm.file}: {error}") from error
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


def check_declared(path: Path, arms: Mapping[str, PlannedArm], declared: Sequence[str]) -> None:
    """Refuse arms that differ in a key outside `declared`; StudyError names keys, values and arms.

    Args:
        path: the file that declares them.
        arms: the arms by their names.
        declared: dotted keys; a key covers everything below it.
    """
    flat = {name: flatten(arm.config) for name, arm in arms.items()}
    keys = list(dict.fromkeys(key for config in flat.values() for key in config))
    for name in declared:
        if not any(_covers(name, key) for key in keys):
            guess = nearest(name, {key[: end or None] for key in keys for end in (key.find("."), 0) if end >= 0})
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise StudyError(f"{path}: declared_differences: no arm has a setting {name!r}{hint}")
    allowed = (*OF_EVERY_ARM, *declared)
    lines = [
        f"  {key}: {_by_value(flat, key)}"
        for key in keys
        if not any(_covers(name, key) for name in allowed)
        and len({repr(c.get(key, ABSENT)) for c in flat.values()}) > 1
    ]
    if lines:
        advice = "make them equal (`overrides` apply to every arm), or add the keys to declared_differences"
        head = f"{path}: arms differ where the study does not declare it; {advice}:"
        raise StudyError("\n".join([head, *lines]))


def _listed(study: StudyFile) -> Iterator[StudyArm]:
    """The arms of a list as they are, those of a grid as overrides of its start."""
    if not isinstance(study.arms, GridArms):
        yield from study.arms
        return
    factors = study.arms.grid
    for labels in product(*factors.values()):
        overrides = tuple(f"{key}={factors[key][label]}" for key, label in zip(factors, labels, strict=True))
        yield StudyArm(file=study.arms.start, name="_".join(filter(None, labels)), overrides=overrides)


class _Scores(tuple[str, ...]):
    """The built-in scores, as they are and at every way to sample, and those of ``judged`` arms' judges, which are
    called by their checkpoints."""

    judged = False

    def __contains__(self, name: object) -> bool:
        plain, _ = condition_of(str(name))
        return super().__contains__(plain) or (self.judged and judge_of(plain) is not None)


class _Judged(_Scores):
    judged = True


class _Anything(tuple[str, ...]):
    """What plug-in metrics call their scores: the plan cannot know it."""

    def __contains__(self, name: object) -> bool:
        return True


def scoring_metrics(config: Mapping[str, Any]) -> list[type[Metric]]:
    """The classes of the metrics that score an arm with this configuration."""
    chosen = config["evaluation"]["metrics"]
    return [metrics.get(metric if isinstance(metric, str) else metric["name"]) for metric in chosen]


def ways_to_sample(config: Mapping[str, Any]) -> list[str]:
    """What scores of an arm with this configuration are told apart by, beside its own (`sampling.also`)."""
    also = SamplingConfig.model_validate(config["sampling"]).also
    return also.names if also else []


def _scores(arms: Collection[PlannedArm]) -> Collection[str]:
    """The scores that claims may name: the built-in ones, unless an arm has a metric of another package."""
    classes = {metric for arm in arms for metric in scoring_metrics(arm.config)}
    own = all(metric.__module__.startswith(f"{PACKAGE}.") for metric in classes)
    judged = any(arm.config["evaluation"].get("judge") for arm in arms)
    return _Anything() if not own else _Judged(BUILT_IN) if judged else _Scores(BUILT_IN)


def _claims(path: Path, arms: Mapping[str, PlannedArm], tuned: Collection[str]) -> dict[str, Any]:
    """The claims file as it is, once its claims are known to be valid and to name what this study has."""
    known = Vocabulary(arms=list(arms), metrics=_scores(arms.values()), guards=GUARDS, facts=FACTS)
    claims = read_claims(path, known)
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


def _spelled_out(arms: Mapping[str, PlannedArm], searched: Collection[str]) -> dict[str, PlannedArm]:
    """The arms with every searched setting that configurations leave out while it is null: they do have it."""
    found = {}
    for name, arm in arms.items():
        config: dict[str, Any] = copy.deepcopy(arm.config)
        for key in searched:
            if key in LEFT_OUT:
                section, _, leaf = key.partition(".")
                config[section].setdefault(leaf, None)
        found[name] = PlannedArm(arm.file, config_hash(config), config)
    return found


def _check_searched(path: Path, tuning: TuningFile, arms: dict[str, PlannedArm]) -> None:
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


def _covers(declared: str, key: str) -> bool:
    return key == declared or key.startswith(f"{declared}.")


def _by_value(flat: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """`1 in a, b; 2 in c`."""
    arms: dict[str, list[str]] = {}
    for arm, config in flat.items():
        arms.setdefault(shown(config.get(key, ABSENT)), []).append(arm)
    return "; ".join(f"{value} in {', '.join(names)}" for value, names in arms.items())
