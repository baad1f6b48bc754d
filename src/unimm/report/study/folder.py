"""Reads a study's folder, `plan.json` and `runs/<arm>/seed<k>/`, and says which planned runs are missing, and why.

A plan whose hash does not hold is refused. A run that is not the planned one, whose files disagree or which is a copy
of another counts as missing: no table, figure or verdict sees it, and the page says why.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from unimm.analysis.claims import Claims
from unimm.evaluation.words import Glossary, Words
from unimm.files import read_object, read_text
from unimm.report.study.odd_ones import odd_ones
from unimm.report.study.soundness import copies, damage
from unimm.runs.code import Code
from unimm.runs.planned import PlannedArm, PlannedResult, dealt, why_no_frozen_plan
from unimm.runs.reading import as_read, pooled
from unimm.runs.record import FAILED, GIVEN_UP, ITEMS, PLAN, RESULT, Items, Result, RunFolder, read_record
from unimm.runs.samples import GRID, Sample
from unimm.scenes.world import FAMILIES
from unimm.schema import SCENES
from unimm.strict_yaml import ConfigError

TUNING = "tuning"
Array = NDArray[np.float64]
T = TypeVar("T")


class _PlanPart(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ArmRecord(_PlanPart):
    """An arm as planned: its resolved configuration without the seed."""

    file: str
    hash: str
    config: dict[str, Any]

    def component(self, kind: str) -> str:
        """Name of the arm's encoder, objective, strategy, ..."""
        return str(self.config[kind]["name"])


class TunedArmRecord(_PlanPart):
    """A tuned arm: the arm `of` which it is, with the settings `chosen`; it lacks the `skipped` ones."""

    of: str
    chosen: dict[str, JsonValue]
    skipped: tuple[str, ...]


class TuningSource(_PlanPart):
    """The tuning that found settings, with as many `trials` and `samples` for every arm, and its tuned arms."""

    folder: str
    plan: str
    metric: str
    trials: int
    samples: int
    by_sampling: tuple[str, ...]
    arms: dict[str, TunedArmRecord]


class PlanRecord(_PlanPart):
    """What a `plan.json` has, of a study or of a tuning."""

    name: str
    question: str
    profile: str
    created: str
    hash: str
    arms: dict[str, ArmRecord]


class StudyPlanRecord(PlanRecord):
    """`plan.json`, frozen before the first run; its claims name arms of the plan only; amendments are dated."""

    seeds: tuple[int, ...]
    overrides: list[JsonValue]
    declared_differences: list[JsonValue]
    claims: Claims
    amendments: list[dict[str, JsonValue]]
    tuned: TuningSource | None = None
    foundations: dict[str, dict[str, str]] = {}
    dealt: tuple[str, ...] = ()
    code: dict[str, dict[str, Code]] = {}

    def run(self, arm: str, seed: int) -> PlannedResult:
        """What the record of a planned run has to say."""
        planned = self.arms[arm]
        own = PlannedArm(planned.file, planned.hash, planned.config)
        return PlannedResult.of(arm, seed, own, self.foundation_of(arm, seed), self.foundations)

    def foundation_of(self, arm: str, seed: int) -> str:
        """The foundation that a run stands on: the one dealt to its seed, or else its arm's."""
        return dealt(self.dealt, self.seeds).get(seed, str(self.arms[arm].config["foundation"]))


class Unit(NamedTuple):
    """What is sampled: its stratum, its number, and its prompt (empty for a question)."""

    stratum: str
    number: int
    prompt: str


@dataclass(frozen=True)
class StudyRun:
    """One finished run."""

    folder: RunFolder
    items: Items | None

    @property
    def result(self) -> Result:
        """Its `result.json`."""
        return self.folder.result

    def value(self, metric: str) -> float:
        """The run's score, NaN where it was not measured."""
        found = next((score.value for score in self.result.scores if score.name == metric), None)
        return float("nan") if found is None or not math.isfinite(found) else found

    @cached_property
    def prompts(self) -> list[Unit]:
        """The prompt of every image. The test repeats short texts, so that a text does not tell prompts apart."""
        evaluation = cast("dict[str, Any]", self.result.config["evaluation"])
        scenes = evaluation.get("prompts") in (None, SCENES)  # whose combinations have one image each
        units: list[Unit] = []
        left = number = 0
        for row in self.items.prompts if self.items else ():
            if not left:
                number += 1
                left = 1 if scenes and row.tag not in FAMILIES else evaluation["images_per_prompt"]
            units.append(Unit(row.tag, number, row.prompt))
            left -= 1
        return units


@dataclass(frozen=True)
class Study:
    """A study as far as it got: finished runs by arm and seed, and why each other planned run is missing.

    `refused` are those of the missing ones that have a result, and why it does not count.
    """

    path: Path
    plan: StudyPlanRecord
    runs: Mapping[str, Mapping[int, StudyRun]]
    missing: Mapping[tuple[str, int], str]
    refused: Mapping[tuple[str, int], str]

    def finished(self, arm: str) -> list[StudyRun]:
        """The finished runs of one arm, in the order of the plan's seeds."""
        return list(self.runs[arm].values())

    @property
    def all_runs(self) -> list[StudyRun]:
        """Every finished run, arm by arm."""
        return [run for arm in self.plan.arms for run in self.finished(arm)]

    def draws(self, arm: str) -> list[str]:
        """The foundation that was dealt to every finished run of an arm; empty where the study deals none."""
        return [self.plan.foundation_of(arm, seed) for seed in self.runs[arm]] if self.plan.dealt else []

    def values(self, arm: str, metric: str) -> Array:
        """One score of every finished run of an arm, `[seeds]`, NaN where it was not measured."""
        return np.array([run.value(metric) for run in self.finished(arm)], dtype=float)

    @property
    def metrics(self) -> set[str]:
        """Names of all scores of all runs."""
        return {score.name for run in self.all_runs for score in run.result.scores}

    @cached_property
    def words(self) -> Glossary:
        """The words of these scores, of a plug-in's as the first run that has them names it."""
        own: dict[str, Words] = {}
        for run in self.all_runs:
            for name, words in run.result.words.items():
                own.setdefault(name, words)
        return Glossary(own)


def read(folder: Path) -> Study:
    """Read the study in `folder`; ValueError says which file is missing or malformed, or that the plan was edited."""
    plan = _plan(folder)
    found: dict[tuple[str, int], StudyRun] = {}
    missing: dict[tuple[str, int], str] = {}
    refused: dict[tuple[str, int], str] = {}
    for arm in plan.arms:
        for seed in plan.seeds:
            run_dir = folder / "runs" / arm / f"seed{seed}"
            if not (run_dir / RESULT).is_file():
                missing[arm, seed] = _why_missing(run_dir, folder / "logs" / f"{arm}-seed{seed}.log")
                continue
            found[arm, seed] = run = read_run(run_dir)
            if reason := _why_refused(plan.run(arm, seed), run):
                refused[arm, seed] = reason
    kept = {key: run for key, run in found.items() if key not in refused}
    refused |= odd_ones({key: (run.result, run.items) for key, run in kept.items()})
    refused |= copies({key: run.result for key, run in kept.items()})
    kept = {key: run for key, run in kept.items() if key not in refused}
    sound = {arm: {s: kept[arm, s] for s in plan.seeds if (arm, s) in kept} for arm in plan.arms}
    return Study(folder, plan, {arm: _pooled(own) for arm, own in sound.items()}, missing | refused, refused)


def _why_refused(planned: PlannedResult, run: StudyRun) -> str | None:
    """Why a finished run does not count by itself: it is another than was planned, or its files disagree."""
    try:
        another = planned.why_another(run.result.model_dump(mode="json"), run.folder.path / RESULT)
    except ConfigError as error:
        another = f"its configuration cannot be compared with the planned one: {error}"
    return another or damage(run.result, run.items)


def _pooled(runs: Mapping[int, StudyRun]) -> dict[int, StudyRun]:
    """The runs of one arm, which have one figure for FLOPs that each counted on a few of its steps."""
    results = pooled([run.result for run in runs.values()])
    return {
        seed: replace(run, folder=replace(run.folder, result=result))
        for (seed, run), result in zip(runs.items(), results, strict=True)
    }


def kind_of(folder: Path) -> str:
    """What the plan in a folder is of: `tuning`, `table`, or empty for a study; ValueError where it is no plan."""
    try:
        return str(read_object(folder / PLAN, "restore it").get("kind", ""))
    except ValueError as error:
        raise ValueError(f"{folder / PLAN} is not a plan that this unimm reads: {error}") from error


def _why_missing(run_dir: Path, log: Path) -> str:
    """A failed run's log ends with the reason, which whoever started it wrote there; collected, it is `failed.json`."""
    if (run_dir / GIVEN_UP).is_file():
        note = read_object(run_dir / GIVEN_UP, "delete it: it only says why a run failed")
        return f"failed: {note.get('reason', 'why is not said')}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    if lines and lines[-1].startswith(FAILED):
        return f"failed: {lines[-1].removeprefix(FAILED)}"
    return "started, not finished" if run_dir.is_dir() else "not started"


def _plan(folder: Path) -> StudyPlanRecord:
    path = folder / PLAN
    if not path.is_file():
        raise ValueError(f"{folder} is no study: it has no {PLAN}. Start one with `unimm study run STUDY.yaml`.")
    text = read_text(path, "restore it from the study")
    try:
        plan = StudyPlanRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise ValueError(
            f"{path} is not a plan that this unimm reads ({problem}); restore it from the study"
        ) from error
    check_frozen(path, "restore it, and amend the study file instead")
    return plan


def check_frozen(path: Path, advice: str) -> None:
    """ValueError unless the plan in `path` is as it was frozen."""
    if problem := why_no_frozen_plan(read_object(path, advice), path, advice):
        raise ValueError(problem)


def read_run(run_dir: Path) -> StudyRun:
    """A finished run, as it stands; ValueError where its files do not follow docs/result.md."""
    result = read_record(run_dir / RESULT, Result)
    samples = _optional(run_dir / GRID, tuple[Sample, ...])
    items = _optional(run_dir / ITEMS, Items)
    return StudyRun(RunFolder(run_dir, as_read(result, items), steps=(), samples=samples or (), config=""), items)


def _optional(path: Path, kind: type[T]) -> T | None:
    """What a file holds, or None if a run has none (older runs have no items)."""
    return read_record(path, kind) if path.is_file() else None
