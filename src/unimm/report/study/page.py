"""Writes a study's report into its folder: `report.html`, one file, and `report.md`, with tables, figures and cards.

The first screen answers the claims: what was found, how sure it is, and what it does not show. What others read leaves
as files: `scores.csv`, LaTeX fragments, figures, and a model card for every trained arm.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm.analysis.results import StudyResults
from unimm.files import write_atomic
from unimm.report.rendering import PlainTable, environment, inline, latex, markdown
from unimm.report.study.answers import Answer, answers, details, scopes, tally
from unimm.report.study.effect_map import map_figure
from unimm.report.study.effects import effects_figure
from unimm.report.study.every_claim import arms_of
from unimm.report.study.evidence import evidence
from unimm.report.study.figures import (
    SampleGrid,
    abilities_figure,
    curves_figure,
    diversity_figure,
    grid_figure,
    sample_grid,
    scores_figure,
    strip,
)
from unimm.report.study.folder import Study
from unimm.report.study.folder import read as read_study
from unimm.report.study.judges import judges_table
from unimm.report.study.ledger import ledger
from unimm.report.study.limits import mean_reference
from unimm.report.study.numbers import over
from unimm.report.study.outside import outside_table
from unimm.report.study.style import Picture
from unimm.report.study.tables import (
    all_scores,
    amendments_table,
    arms_table,
    completeness_table,
    facets_table,
    factorial_table,
    guards_table,
    measured,
    paper_table,
    provenance_table,
)
from unimm.report.table import number

COLUMNS = ("study", "arm", "seed", "metric", "n", "value")
FIGURES = ("map", "strip", "effects", "scores", "curves", "samples", "diversity", "abilities")


def write_scores(study: Study) -> None:
    """`scores.csv`: one row per arm, seed and metric; an empty value could not be measured."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for arm in study.plan.arms:
        for seed, run in study.runs[arm].items():
            for score in run.result.scores:
                value = "" if score.value is None else repr(score.value)
                writer.writerow([study.plan.name, arm, seed, score.name, score.n, value])
    write_atomic(study.path / "scores.csv", stream.getvalue())


def write_tables(folder: Path, tables: Iterable[PlainTable]) -> None:
    """`tables/<name>.tex`."""
    for table in tables:
        write_atomic(folder / "tables" / f"{table.name}.tex", latex(table))


def write_figures(folder: Path, figures: Mapping[str, Picture]) -> None:
    """`figures/<name>.svg` and `.png`."""
    for name, shown in figures.items():
        write_atomic(folder / "figures" / f"{name}.svg", shown.svg)
        write_atomic(folder / "figures" / f"{name}.png", shown.png)


def write_cards(study: Study, answers: list[Answer], setting: str) -> None:
    """`cards/<arm>.md` for every arm with a finished run."""
    template = environment().get_template("card.md.j2")
    for arm, planned in study.plan.arms.items():
        runs = study.finished(arm)
        if runs:
            text = template.render(
                arm=arm,
                planned=planned,
                plan=study.plan,
                setting=setting,
                first=runs[0].result,
                foundations=list(dict.fromkeys(study.plan.foundation_of(arm, seed) for seed in study.runs[arm])),
                seeds=list(study.runs[arm]),
                weights=[(f"runs/{arm}/seed{seed}", run.result.hashes) for seed, run in study.runs[arm].items()],
                scores=markdown(_card_scores(study, arm)),
                answers=[answer for answer in answers if arm in arms_of(answer.claim)],
            )
            write_atomic(study.path / "cards" / f"{arm}.md", text)


def _card_scores(study: Study, arm: str) -> PlainTable:
    rows = []
    for metric in study.words.ordered(study.metrics):
        words = study.words[metric]
        found = [mean_reference(study, arm, kind, metric) for kind in ("floors", "ceilings")]
        limits = ["" if value is None else number(value) for value in found]
        rows.append((words.section, words.label, measured(study, arm, metric), *limits))
    return PlainTable(
        "card", arm, ("group", "score", "mean ± standard error", "floor", "ceiling"), tuple(rows), text_columns=2
    )


@dataclass(frozen=True)
class StudyReport:
    """Everything that the pages show, before it is laid out; tables by name."""

    study: Study
    results: StudyResults
    answers: list[Answer]
    tables: dict[str, PlainTable]
    grid: SampleGrid | None


def write(folder: Path) -> Path:
    """Read the study in `folder`, write its report there, and return the path of the html page."""
    return write_report(build(folder))


def write_report(report: StudyReport) -> Path:
    """Write a report into its study's folder, and return the path of the html page."""
    folder = report.study.path
    figures = draw(report, FIGURES)
    write_scores(report.study)
    write_tables(folder, report.tables.values())
    write_figures(folder, figures)
    write_cards(report.study, report.answers, report.results.setting)
    context = {
        "study": report.study,
        "plan": report.study.plan,
        "setting": report.results.setting,
        "covers": report.results.covers,
        "over": over(report.study),
        "answers": report.answers,
        "tally": tally(report.answers),
        "scopes": scopes(report.answers),
        "tables": report.tables,
        "grid": report.grid,
        "refused": [f"{arm} seed {seed}: {reason}" for (arm, seed), reason in report.study.refused.items()],
        "unfinished": len(report.study.missing) - len(report.study.refused),
        "imported": None,
    }
    return lay_out(folder, context, figures)


def lay_out(folder: Path, context: Mapping[str, Any], figures: Mapping[str, Picture]) -> Path:
    """Write `report.html` and `report.md` of a study, run by unimm or imported, and return the path of the first."""
    pages = environment()
    text = pages.get_template("study.md.j2").render(**context, figures=figures.keys(), markdown=markdown)
    write_atomic(folder / "report.md", text)
    inlined = {name: inline(shown.svg, "svg+xml") for name, shown in figures.items()}
    page = folder / "report.html"
    write_atomic(page, pages.get_template("study.html.j2").render(**context, figures=inlined))
    return page


def build(folder: Path) -> StudyReport:
    """Read the study in `folder` and decide its claims; ValueError says what is missing or malformed."""
    study = read_study(folder)
    results = evidence(study)
    found = answers(study, results)
    tables = (
        details(found),
        paper_table(study, results),
        outside_table(study, found),
        arms_table(study),
        facets_table(study),
        all_scores(study),
        judges_table(study, results, found),
        factorial_table(study, results),
        ledger(study),
        completeness_table(study),
        guards_table(study, results),
        provenance_table(study),
        amendments_table(study),
    )
    return StudyReport(
        study=study,
        results=results,
        answers=found,
        tables={table.name: table for table in tables if table is not None},
        grid=sample_grid(study),
    )


def draw(report: StudyReport, names: Collection[str]) -> dict[str, Picture]:
    """Those of the figures that the study has something to show in, by name."""
    study = report.study
    painters: dict[str, Callable[[], Picture | None]] = {
        "map": lambda: map_figure(study, report.answers),
        "strip": lambda: grid_figure(strip(report.grid)) if report.grid else None,
        "effects": lambda: effects_figure(study, report.answers, report.results),
        "scores": lambda: scores_figure(study),
        "curves": lambda: curves_figure(study),
        "samples": lambda: grid_figure(report.grid) if report.grid else None,
        "diversity": lambda: diversity_figure(study),
        "abilities": lambda: abilities_figure(study),
    }
    drawn = {name: painters[name]() for name in names}
    return {name: shown for name, shown in drawn.items() if shown is not None}
