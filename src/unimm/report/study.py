"""Writes a study's report into its folder: `report.html`, one file, and `report.md`, with tables, figures and cards.

The first screen answers the claims: what was found, how sure it is, and what it does not show.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from unimm.analysis.results import StudyResults
from unimm.files import write_atomic
from unimm.report import study_folder
from unimm.report.ledger import ledger
from unimm.report.plain_table import PlainTable, markdown
from unimm.report.rendering import environment, inline
from unimm.report.study_answers import Answer, answers, details, scopes, tally
from unimm.report.study_effects import effects_figure
from unimm.report.study_evidence import evidence
from unimm.report.study_export import write_cards, write_figures, write_scores, write_tables
from unimm.report.study_figures import abilities_figure, curves_figure, diversity_figure, scores_figure
from unimm.report.study_folder import Study
from unimm.report.study_grid import SampleGrid, grid_figure, sample_grid
from unimm.report.study_provenance import amendments_table, off_plan, provenance_table
from unimm.report.study_style import Picture
from unimm.report.study_tables import (
    all_scores,
    arms_table,
    completeness_table,
    factorial_table,
    guards_table,
    paper_table,
)

FIGURES = ("effects", "scores", "curves", "samples", "diversity", "abilities")


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
    report = build(folder)
    figures = draw(report, FIGURES)
    write_scores(report.study)
    write_tables(folder, report.tables.values())
    write_figures(folder, figures)
    write_cards(report.study, report.answers, report.results.setting)
    context = {
        "study": report.study,
        "plan": report.study.plan,
        "setting": report.results.setting,
        "answers": report.answers,
        "tally": tally(report.answers),
        "scopes": scopes(report.answers),
        "tables": report.tables,
        "grid": report.grid,
        "off_plan": off_plan(report.study),
    }
    pages = environment()
    text = pages.get_template("study.md.j2").render(**context, figures=figures.keys(), markdown=markdown)
    write_atomic(folder / "report.md", text)
    inlined = {name: inline(shown.svg, "svg+xml") for name, shown in figures.items()}
    page = folder / "report.html"
    write_atomic(page, pages.get_template("study.html.j2").render(**context, figures=inlined))
    return page


def build(folder: Path) -> StudyReport:
    """Read the study in `folder` and decide its claims; ValueError says what is missing or malformed."""
    study = study_folder.read(folder)
    results = evidence(study)
    found = answers(study, results)
    tables = (
        details(found),
        paper_table(study, results),
        arms_table(study),
        all_scores(study),
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
        "effects": lambda: effects_figure(study, report.answers, report.results),
        "scores": lambda: scores_figure(study),
        "curves": lambda: curves_figure(study),
        "samples": lambda: grid_figure(report.grid) if report.grid else None,
        "diversity": lambda: diversity_figure(study),
        "abilities": lambda: abilities_figure(study),
    }
    drawn = {name: painters[name]() for name in names}
    return {name: shown for name, shown in drawn.items() if shown is not None}
