"""A study that unimm ran as a table and a claims file: what `unimm study import` reads, for other tools and other eyes.

Every score of every run that counts is a row, those by prompt or question besides, learning curves (validation), facts,
floors and ceilings. The table holds the numbers that verdicts are decided on; what shows that runs are what they say
(hashes, configurations, logs) stays in the study's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from unimm.files import write_atomic
from unimm.report.imported.plan import SCORES
from unimm.report.imported.table import FACT, write_table
from unimm.report.study.by_item import by_item
from unimm.report.study.evidence import FACTS, questions
from unimm.report.study.first_stages import first_stages
from unimm.report.study.folder import Study, StudyRun, read
from unimm.report.study.limits import reference
from unimm.runs.record import PLAN

CLAIMS = "claims.yaml"
Cells = dict[str, object]


def export_study(folder: Path, out: Path) -> tuple[Path, Path]:
    """Write `scores.csv` and `claims.yaml` of the study in ``folder`` into ``out``; returns both.

    Raises:
        ValueError: there is no study, its plan was edited, or ``out`` is a study itself.
    """
    if (out / PLAN).exists():
        raise ValueError(f"{out} holds a study of its own: give another folder")
    study = read(folder)
    if not study.all_runs:
        raise ValueError(f"{folder} has no finished run that counts, so that there is nothing to export")
    write_table(out / SCORES, _rows(study))
    claims = study.plan.claims.model_dump(mode="json", exclude_unset=True)
    write_atomic(out / CLAIMS, yaml.safe_dump(claims, sort_keys=False, allow_unicode=True, width=120))
    return out / SCORES, out / CLAIMS


def _rows(study: Study) -> Iterator[Cells]:
    asked = questions(study)
    for arm, runs in study.runs.items():
        about = _about(study, arm)
        for seed, run in runs.items():
            own: Cells = {"arm": arm, "seed": seed}
            if study.plan.dealt:
                own["foundation"] = study.plan.foundation_of(arm, seed)
            for cells in (*_scores(run), *_curve(run), *_facts(run)):
                unit = {"unit": "question"} if cells["metric"] in asked else {}
                yield {"study": study.plan.name, **own, **about, **cells, **unit}
    for metric in sorted(study.metrics):
        yield from _by_prompt(study, metric)


def _about(study: Study, arm: str) -> Cells:
    """What the arm is made of."""
    parts: Cells = {kind: study.plan.arms[arm].component(kind) for kind in ("encoder", "objective", "strategy")}
    first = first_stages(study.plan)[arm]
    return parts if first == arm else parts | {"first_stage": first}


def _scores(run: StudyRun) -> Iterator[Cells]:
    spent = run.result.efficiency
    for score in run.result.scores:
        yield {
            "metric": score.name,
            "value": score.value,
            "n": score.n,
            "samples": run.result.counts.generation_samples,
            "flops": None if spent is None else spent.train_flops,
            "floor": reference(run, "floors", score.name),
            "ceiling": reference(run, "ceilings", score.name),
            "protocol": json.dumps(score.protocol, sort_keys=True, ensure_ascii=False),
        }


def _curve(run: StudyRun) -> Iterator[Cells]:
    spent, final = run.result.efficiency, {score.name for score in run.result.scores}
    for point in run.result.curve:
        for metric, value in point.scores.items():
            if metric not in final:
                continue
            flops = None if spent is None else point.samples * spent.train_flops_per_sample
            yield {"metric": metric, "value": value, "split": "validation", "samples": point.samples, "flops": flops}


def _facts(run: StudyRun) -> Iterator[Cells]:
    for name, check in FACTS.items():
        held = check(run.result)
        if held is not None:
            yield {"metric": f"{FACT}{name}", "value": int(held)}


def _by_prompt(study: Study, metric: str) -> Iterator[Cells]:
    """The score by prompt or question, where the study's intervals take it so."""
    found = by_item(study, metric)
    if found is None:
        return
    unit = found.units.removesuffix("s")
    for arm, scores in found.scores.items():
        for seed, values in zip(study.runs[arm], scores, strict=True):
            for number, value in enumerate(values):
                prompt = {"prompt": number, "task": found.strata[number], "text": found.texts[number], "unit": unit}
                yield {"arm": arm, "seed": seed, "metric": metric, "value": float(value), **prompt}
