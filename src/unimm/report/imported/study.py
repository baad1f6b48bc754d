"""The rows of a table as a study: runs by arm and seed, with final scores, scores by prompt, curves and facts.

Of one score of one run, the final one is the row without a prompt, or the last of several that differ in samples; where
there are only rows by prompt it is the mean of the tasks' means of these. Rows that say both have to agree. A score is
by prompt where all runs have it of the same prompts, and no task has a single text, as in studies that unimm runs.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from pydantic import JsonValue

from unimm.analysis.claims import Claims, Invariant
from unimm.evaluation.words import BUILT_IN, OTHER, Glossary, Words
from unimm.report.imported.plan import ImportPlan
from unimm.report.imported.table import ARM, FACT, Row
from unimm.report.study.folder import Array
from unimm.runs.record import NamedScores, ScoreRecord

AGREE = 1e-3  # relative: items are often written to four decimals
FILE = "table"  # the name of the one floor and ceiling that a table has


class Unit(NamedTuple):
    """A prompt or question, with its task and text."""

    task: str
    prompt: str
    text: str


class Point(NamedTuple):
    """A checkpoint of a learning curve."""

    samples: float
    flops: float | None
    value: float


@dataclass(frozen=True)
class ImportedScores:
    """The final scores of a run, with floors and ceilings as `result.json` has them."""

    scores: list[ScoreRecord]
    floors: Mapping[str, NamedScores]
    ceilings: Mapping[str, NamedScores]


@dataclass(frozen=True)
class ImportedRun:
    """One arm and seed: its scores, those by prompt, learning curves, facts, and samples of training if given."""

    result: ImportedScores
    units: Mapping[str, Mapping[Unit, float]]
    curves: Mapping[str, list[Point]]
    facts: Mapping[str, bool]
    samples: frozenset[float]

    @cached_property
    def known(self) -> dict[str, float]:
        """Score -> value, NaN where it was not measured."""
        return {score.name: math.nan if score.value is None else score.value for score in self.result.scores}

    def value(self, metric: str) -> float:
        """A score, NaN where it was not measured."""
        return self.known.get(metric, math.nan)


@dataclass(frozen=True)
class ImportedArm:
    """What the table says an arm is made of."""

    parts: Mapping[str, str]

    def component(self, kind: str) -> str:
        """Name of the encoder, objective or strategy; empty where the table does not say."""
        return self.parts.get(kind, "")


@dataclass(frozen=True)
class DecidedPlan:
    """The frozen plan beside arms and seeds, which only the table knows, as pages ask for them."""

    name: str
    question: str
    seeds: tuple[int, ...]
    arms: Mapping[str, ImportedArm]
    claims: Claims
    amendments: tuple[()] = ()


@dataclass(frozen=True)
class ImportedStudy:
    """A study as its table tells it; every seed of any arm is expected of all."""

    path: Path
    frozen: ImportPlan
    plan: DecidedPlan
    runs: Mapping[str, Mapping[int, ImportedRun]]
    missing: Mapping[tuple[str, int], str]
    kinds: Mapping[str, str] = field(default_factory=dict)
    dealt: Mapping[int, str] = field(default_factory=dict)

    def draws(self, arm: str) -> list[str]:
        """The draw of the foundation of every run of an arm; empty where runs of all seeds stand on one."""
        return [self.dealt[seed] for seed in self.runs[arm]] if self.dealt else []

    def finished(self, arm: str) -> list[ImportedRun]:
        """The runs of an arm, in the order of seeds."""
        return list(self.runs[arm].values())

    @property
    def all_runs(self) -> list[ImportedRun]:
        """Every run, arm by arm."""
        return [run for arm in self.plan.arms for run in self.finished(arm)]

    @property
    def named(self) -> dict[str, ImportedRun]:
        """Every run by its name."""
        return {f"{arm} seed {seed}": run for arm, own in self.runs.items() for seed, run in own.items()}

    @cached_property
    def metrics(self) -> set[str]:
        """Names of all scores."""
        return {score.name for run in self.all_runs for score in run.result.scores}

    @cached_property
    def words(self) -> Glossary:
        """Those of unimm's own scores; others keep their names, and stand first where a claim is about them."""
        claimed = {claim.metric for claim in self.plan.claims.claims if not isinstance(claim, Invariant)}
        return Glossary({name: Words(OTHER, name, headline=name) for name in sorted(claimed - BUILT_IN.keys())})

    def values(self, arm: str, metric: str) -> Array:
        """One score of every run of an arm, `[seeds]`, NaN where it was not measured."""
        return np.array([run.value(metric) for run in self.finished(arm)], dtype=float)


def build(folder: Path, plan: ImportPlan, rows: Sequence[Row]) -> ImportedStudy:
    """The study of a plan and a table; ValueError for rows that contradict one another."""
    by_run: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_run[row.arm][row.seed].append(row)
    seeds = tuple(sorted({row.seed for row in rows}))
    runs = {arm: {seed: _run(own[seed]) for seed in seeds if seed in own} for arm, own in by_run.items()}
    missing = {(arm, seed): "not in the table" for arm in runs for seed in seeds if seed not in runs[arm]}
    arms = {arm: _arm(row for own in by_seed.values() for row in own) for arm, by_seed in by_run.items()}
    question = f"What scores of runs made elsewhere say: {plan.name}"
    decided = DecidedPlan(plan.name, question, seeds, arms, plan.decided())
    return ImportedStudy(folder, plan, decided, runs, missing, _kinds(rows), _dealt(rows, seeds))


def _dealt(rows: Iterable[Row], seeds: Sequence[int]) -> dict[int, str]:
    """Seed -> the draw of the foundation that its runs stand on; empty where all stand on one, or no row says it."""
    found: dict[int, str] = {}
    for row in rows:
        name = row.texts.get("foundation")
        if name is not None and found.setdefault(row.seed, name) != name:
            raise ValueError(
                f"{row.place}: foundation of seed {row.seed} is {name} here and {found[row.seed]} above: arms are "
                "compared seed by seed, so that a seed stands on one foundation in all of them"
            )
    if len(set(found.values())) < 2:
        return {}
    if without := [str(seed) for seed in seeds if seed not in found]:
        raise ValueError(f"column foundation: seed {', '.join(without)} has none, and other seeds do; fill it in")
    counts = Counter(found.values())
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{number} on {name}" for name, number in counts.items())
        raise ValueError(f"column foundation: seeds are {each}: give every foundation as many, so that all weigh alike")
    return found


def _kinds(rows: Iterable[Row]) -> dict[str, str]:
    """Metric -> what its prompts are, as rows by prompt say it, or else those of whole runs."""
    found: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: "prompt" not in row.texts):
        if "unit" in row.texts:
            found.setdefault(row.metric, row.texts["unit"])
    return found


def _arm(rows: Iterable[Row]) -> ImportedArm:
    parts: dict[str, str] = {}
    for row in rows:
        for name in ARM:
            if name in row.texts and parts.setdefault(name, row.texts[name]) != row.texts[name]:
                raise ValueError(f"{row.place}: {name} of {row.arm} is {row.texts[name]} here and {parts[name]} above")
    return ImportedArm(parts)


def _run(rows: Sequence[Row]) -> ImportedRun:
    by_metric: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_metric[row.metric].append(row)
    facts = {name.removeprefix(FACT): _fact(own) for name, own in by_metric.items() if name.startswith(FACT)}
    measured = {name: _score(own) for name, own in by_metric.items() if not name.startswith(FACT)}
    limits = {kind: _limits(measured, kind) for kind in ("floor", "ceiling")}
    final = ImportedScores([each.record for each in measured.values()], limits["floor"], limits["ceiling"])
    return ImportedRun(
        result=final,
        units={name: each.units for name, each in measured.items() if each.units},
        curves={name: each.curve for name, each in measured.items() if len(each.curve) > 1},
        facts=facts,
        samples=frozenset(each.samples for each in measured.values() if each.samples is not None),
    )


def _fact(rows: Sequence[Row]) -> bool:
    (row, *more) = rows
    if more or row.value not in (0, 1):
        raise ValueError(f"{row.place}: the fact {row.metric.removeprefix(FACT)} is 1 or 0, once a run")
    return row.value == 1


class _Score(NamedTuple):
    record: ScoreRecord
    units: dict[Unit, float]
    curve: list[Point]
    samples: float | None
    limits: Mapping[str, float]


def _score(rows: Sequence[Row]) -> _Score:
    """One score of one run from its rows."""
    by_prompt = [row for row in rows if "prompt" in row.texts]
    whole = sorted((row for row in rows if "prompt" not in row.texts), key=lambda row: row.numbers.get("samples", 0))
    tested = [row for row in whole if row.texts.get("split", "test") == "test"]
    validated = [row for row in whole if row.texts.get("split") == "validation"]
    if not tested and not by_prompt:
        row = validated[-1]
        raise ValueError(
            f"{row.place}: {row.arm} seed {row.seed} has {row.metric} on validation only, and no final score"
        )
    for row in validated or (tested if len(tested) > 1 else ()):
        if "samples" not in row.numbers:
            raise ValueError(f"{row.place}: a learning curve needs samples in every row")
    units = {_unit(row): row.value for row in by_prompt}
    last = tested[-1] if tested else by_prompt[-1]
    value = tested[-1].value if tested else _mean_of_tasks(units)
    if tested and units and abs(_mean_of_tasks(units) - value) > AGREE * max(1.0, abs(value)):
        own = _mean_of_tasks(units)
        raise ValueError(f"{last.place}: {last.metric} is {value:.6g}, and its rows by prompt have {own:.6g}: keep one")
    record = ScoreRecord(
        name=last.metric,
        value=None if math.isnan(value) else value,
        n=int(last.numbers.get("n", len(units) or 1)),
        protocol=_protocol(last),
    )
    return _Score(record, units, _curve(validated or tested), last.numbers.get("samples"), _ends(rows))


def _unit(row: Row) -> Unit:
    prompt = row.texts["prompt"]
    return Unit(row.texts.get("task", ""), prompt, row.texts.get("text", prompt))


def _mean_of_tasks(units: Mapping[Unit, float]) -> float:
    by_task: dict[str, list[float]] = defaultdict(list)
    for unit, value in units.items():
        by_task[unit.task].append(value)
    return fmean(map(fmean, by_task.values()))


def _curve(rows: Sequence[Row]) -> list[Point]:
    return [Point(row.numbers.get("samples", math.nan), row.numbers.get("flops"), row.value) for row in rows]


def _ends(rows: Sequence[Row]) -> dict[str, float]:
    """Floor and ceiling, if any row has them."""
    ends: dict[str, float] = {}
    for row in rows:
        for name in ("floor", "ceiling"):
            if name in row.numbers and ends.setdefault(name, row.numbers[name]) != row.numbers[name]:
                raise ValueError(f"{row.place}: {name} of {row.metric} is another one than above in the same run")
    return ends


def _limits(measured: Mapping[str, _Score], kind: str) -> dict[str, NamedScores]:
    found: NamedScores = {name: each.limits[kind] for name, each in measured.items() if kind in each.limits}
    return {FILE: found} if found else {}


def _protocol(row: Row) -> dict[str, JsonValue]:
    """A JSON object as it is, any other text as the one entry."""
    text = row.texts.get("protocol", "")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, dict):
        return value
    return {"protocol": text} if text else {}


def prompts_differ(runs: Mapping[str, ImportedRun], metric: str) -> str | None:
    """Which run has other prompts than most, of those that have the metric; None where all agree."""
    asked = {name: frozenset(run.units.get(metric, {})) for name, run in runs.items() if metric in run.known}
    if len(set(asked.values())) <= 1:
        return None
    (most, _), *_ = Counter(asked.values()).most_common()
    name, own = next((name, own) for name, own in asked.items() if own != most)
    odd = sorted(own ^ most)[0]
    has = "lacks" if odd in most else "alone has"
    return f"prompts of {metric} differ: {name} has {len(own):,}, most runs {len(most):,}; it {has} {odd.prompt!r}"
