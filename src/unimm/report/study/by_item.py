"""Scores prompt by prompt, or question by question: what the two-way interval of a study rests on.

A score is the mean of its parts' means (`mean of` in its protocol; a score without it is its own only part), and each
part has a value for every image or question that it applies to (`items.json`). With K parts of N_k items each,

    score = sum over units p of u_p,   u_p = sum over parts k and items i of p of x_ki / (K N_k),

where a unit is one prompt with all its images, or one question. Units fall into strata, the task of a prompt or the
kind of a question, in which they are a sample. What the intervals take is a mean of strata's means, so that a unit
counts as T n_t u_p, with T strata and n_t units in its own: its value itself wherever parts and strata are the same, as
in GenEval's overall score. A prompt may be in several parts at once, as in atoms.

A score is by item where every run of the study measured the same items and no stratum has a single text, which says
nothing about how texts vary. All else is by run: runs without `items.json`, distances, scores among correct images.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from unimm.report.study.every_claim import shortened
from unimm.report.study.folder import Array, Study, StudyRun, Unit
from unimm.runs.record import IMAGES, ITEMS, ScoreRecord


class ByItem(NamedTuple):
    """A score by arm as `[seeds, units]`, stratum and text of every unit, and what units are (`prompts`, `questions`).

    The text of a long wording is the short one's, since both are judged on its facts; every question has its own.
    `noise` is, by arm, the variance that the images of a prompt give a run's score, where prompts have several.
    """

    scores: dict[str, Array]
    strata: list[str]
    texts: list[str]
    units: str
    noise: dict[str, float]


class _Table(NamedTuple):
    """What every item of every unit adds to one run's score, and which items of which parts that was taken over."""

    items: dict[Unit, dict[int, float]]
    measured: list[list[int]]
    kind: str

    @property
    def units(self) -> dict[Unit, float]:
        """What every unit adds."""
        return {unit: sum(own.values()) for unit, own in self.items.items()}

    @property
    def noise(self) -> float | None:
        """Variance of the score by the items of a unit, sum_p n_p s_p^2; None if a unit has a single one."""
        by_number: dict[int, list[list[float]]] = {}
        for values in self.items.values():
            by_number.setdefault(len(values), []).append([*values.values()])
        if 1 in by_number:
            return None
        return sum(number * float(np.var(rows, axis=1, ddof=1).sum()) for number, rows in by_number.items())


def by_item(study: Study, metric: str) -> ByItem | None:
    """The score of every unit in every finished run, or None where it can only be taken by run."""
    return by_item_of({arm: study.finished(arm) for arm in study.plan.arms}, metric)


def by_item_of(runs: Mapping[str, Sequence[StudyRun]], metric: str) -> ByItem | None:
    """The same of any runs, by whatever name."""
    tables = {arm: [_table(run, metric) for run in own] for arm, own in runs.items()}
    found = [table for own in tables.values() for table in own]
    first = found[0] if found else None
    if first is None or any(t is None or (t.measured, [*t.items]) != (first.measured, [*first.items]) for t in found):
        return None
    units = list(first.items)
    sizes = Counter(unit.stratum for unit in units)
    texts = [unit.prompt or str(unit.number) for unit in units]
    distinct = Counter(stratum for stratum, _ in set(zip((unit.stratum for unit in units), texts, strict=True)))
    if not units or min(distinct.values()) < 2:
        return None
    weights = np.array([len(sizes) * sizes[unit.stratum] for unit in units])
    scores = {
        arm: np.array([weights * np.array(list(table.units.values())) for table in own if table is not None])
        for arm, own in tables.items()
        if own
    }
    noise = {arm: _mean_noise(own) for arm, own in tables.items() if own}
    known = {arm: value for arm, value in noise.items() if value is not None}
    return ByItem(scores, [unit.stratum for unit in units], texts, f"{first.kind}s", known)


def _mean_noise(tables: Sequence[_Table | None]) -> float | None:
    """The mean noise of an arm's runs, None where one does not show it."""
    found = [table.noise for table in tables if table is not None]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def why_by_run(study: Study, metric: str) -> str | None:
    """Why a score is taken by run that some runs have by item; None where no run has, or nothing is amiss."""
    runs = {f"{arm} seed {seed}": run for arm in study.runs for seed, run in study.runs[arm].items()}
    without = [name for name, run in runs.items() if _table(run, metric) is None]
    if without:
        return shortened(f"no scores by item in {ITEMS} of ", without) if len(without) < len(runs) else None
    prompts = {tuple((row.tag, row.prompt) for row in run.items.prompts) for run in runs.values() if run.items}
    return f"runs have other prompts in {ITEMS}" if len(prompts) > 1 else None


def _table(run: StudyRun, metric: str) -> _Table | None:
    """One run's score by unit, or None where the run does not say; NaN where its result has no score as a whole."""
    score = next((score for score in run.result.scores if score.name == metric), None)
    if run.items is None or score is None:
        return None
    parts = _parts(score)
    if not set(parts) <= run.items.scores.keys():
        return None
    items: dict[Unit, dict[int, float]] = {}
    whole = 1.0 if math.isfinite(run.value(metric)) else math.nan
    measured = []
    for part in parts:
        of = run.prompts if run.items.unit(part) == IMAGES else None
        own = {i: value for i, value in enumerate(run.items.scores[part]) if value is not None}
        for number, value in own.items():
            unit = Unit(part, number, "") if of is None else of[number]
            added = items.setdefault(unit, {})
            added[number] = added.get(number, 0.0) + whole * value / (len(parts) * len(own))
        measured.append(list(own))
    kind = run.items.unit(parts[0])
    return _Table(items, measured, "prompt" if kind == IMAGES else kind)


def _parts(score: ScoreRecord) -> Sequence[str]:
    return cast("Sequence[str]", score.protocol.get("mean of", [score.name]))
