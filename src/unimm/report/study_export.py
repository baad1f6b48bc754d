"""What leaves the report: `scores.csv`, LaTeX fragments, figures as files, and a model card for every trained arm."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from unimm.files import write_atomic
from unimm.report.plain_table import PlainTable, latex, markdown
from unimm.report.rendering import environment
from unimm.report.study_answers import Answer
from unimm.report.study_folder import Study
from unimm.report.study_guards import arms_of
from unimm.report.study_numbers import mean_of
from unimm.report.study_references import mean_reference
from unimm.report.study_style import Picture
from unimm.report.table import described, number, ordered

COLUMNS = ("study", "arm", "seed", "metric", "n", "value")


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
                seeds=list(study.runs[arm]),
                weights=[(f"runs/{arm}/seed{seed}", run.result.hashes) for seed, run in study.runs[arm].items()],
                scores=markdown(_card_scores(study, arm)),
                answers=[answer for answer in answers if arm in arms_of(answer.claim)],
            )
            write_atomic(study.path / "cards" / f"{arm}.md", text)


def _card_scores(study: Study, arm: str) -> PlainTable:
    rows = []
    for metric in ordered(study.metrics):
        group, label = described(metric)
        found = [mean_reference(study, arm, kind, metric) for kind in ("floors", "ceilings")]
        limits = ["" if value is None else number(value) for value in found]
        rows.append((group.partition(" (")[0], label, str(mean_of(study.values(arm, metric))), *limits))
    return PlainTable(
        "card", arm, ("group", "score", "mean ± standard error", "floor", "ceiling"), tuple(rows), text_columns=2
    )
