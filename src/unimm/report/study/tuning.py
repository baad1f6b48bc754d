"""Writes what a tuning found into its folder: `tuned.yaml`, `trials.csv`, `report.md` and `.html`, tables, a figure.

`tuned.yaml` is written only when every arm has spent the same, whole budget.
"""

import csv
import io
from pathlib import Path
from typing import Any

import yaml

from unimm.files import write_atomic
from unimm.report.rendering import PlainTable, environment, inline, markdown
from unimm.report.study.numbers import axis_label, short, signed
from unimm.report.study.page import write_figures, write_tables
from unimm.report.study.style import Picture, legend, looks, new_figure, picture, plain
from unimm.report.study.tuning_folder import Outcome, read
from unimm.report.table import duration, number

TUNED = "tuned.yaml"
COLUMNS = ("tuning", "arm", "trial", "samples_so_far", "value", "best_so_far", "seconds")
NONE = "-"


def write(folder: Path) -> Path:
    """Read the tuning in `folder`, write its outcome there, and return the path of the html page."""
    outcome = read(folder)
    problems = outcome.problems()
    if problems:
        (folder / TUNED).unlink(missing_ok=True)
    else:
        write_atomic(folder / TUNED, yaml.safe_dump(tuned(outcome), sort_keys=False))
    tables = (against_default(outcome), budgets(outcome))
    figures = {"best_so_far": best_so_far(outcome)} if any(arm.records for arm in outcome.arms.values()) else {}
    write_atomic(folder / "trials.csv", trials_csv(outcome))
    write_tables(folder, tables)
    write_figures(folder, figures)
    context = {"plan": outcome.plan, "problems": problems, "tables": tables, "metric": short(outcome.plan.metric)}
    pages = environment()
    text = pages.get_template("study_tuning.md.j2").render(**context, figures=figures.keys(), markdown=markdown)
    write_atomic(folder / "report.md", text)
    inlined = {name: inline(shown.svg, "svg+xml") for name, shown in figures.items()}
    page = folder / "report.html"
    write_atomic(page, pages.get_template("study_tuning.html.j2").render(**context, figures=inlined))
    return page


def tuned(outcome: Outcome) -> dict[str, Any]:
    """The content of `tuned.yaml`: the settings of each arm's best trial, and what it was given."""
    plan, arms = outcome.plan, {}
    for arm, trials in outcome.arms.items():
        best = trials.best
        assert best is not None, "a tuning without problems has a score for every arm"
        arms[arm] = {
            "chosen": {**best.settings.params, **best.chosen},
            "skipped": outcome.skipped(arm),
            "trials": trials.spent,
            "samples": plan.samples * trials.spent,
            "untuned": trials.untuned,
            "value": best.value,
        }
    head = plan.model_dump(include={"profile", "seed", "prompts", "metric"})
    return {"plan": plan.hash, **head, "by_sampling": list(plan.by_sampling), "arms": arms}


def against_default(outcome: Outcome) -> PlainTable:
    """One row an arm: its score as it stands, tuned, and with which settings."""
    plan = outcome.plan
    headers = ("arm", "as it stands", "tuned", "gain", "best trial", *plan.searched)
    rows = []
    for arm, trials in outcome.arms.items():
        best, own = trials.best, trials.untuned
        found = [NONE if v is None else number(v) for v in (own, best.value if best else None)]
        gain = signed(best.value - own) if best and best.value is not None and own is not None else NONE
        settings = {**best.settings.params, **best.chosen} if best else {}
        skipped = outcome.skipped(arm)
        cells = [_setting(key, settings, skipped) for key in plan.searched]
        rows.append((arm, *found, gain, str(best.settings.number) if best else NONE, *cells))
    note = (
        f"Scores are {short(plan.metric)} on the validation prompts with the tuning seed {plan.seed}, which no study "
        "reports. The best of several trials is an optimistic number: what tuning is worth, a study says that runs "
        "tuned arms beside the others (`tuned:` in its file), with other seeds and on test prompts. Trial 0 is the arm "
        "as it stands, with guidance and EMA chosen by sampling."
    )
    return PlainTable("tuned", "Tuned against default", headers, tuple(rows), note)


def _setting(key: str, settings: dict[str, Any], skipped: list[str]) -> str:
    if key in skipped:
        return "no such setting"
    return f"{settings[key]:g}" if isinstance(settings.get(key), float) else str(settings.get(key, "as it stands"))


def budgets(outcome: Outcome) -> PlainTable:
    """One row an arm: what it was given."""
    headers = ("arm", "trials", "of these failed", "samples", "images to choose by", "time", "settings it lacks")
    rows = []
    for arm, trials in outcome.arms.items():
        looks_at = sum(record.n * len(record.evaluations) for record in trials.records.values())
        seconds = sum(record.seconds for record in trials.records.values())
        cells = (str(trials.spent), str(len(trials.failed)), f"{trials.samples:,}", f"{looks_at:,}", duration(seconds))
        rows.append((arm, *cells, ", ".join(outcome.skipped(arm)) or "none"))
    note = (
        "Every arm gets the same trials, samples, prompts, seed, sampler and ranges. An arm that lacks a setting skips "
        "it, and so needs fewer images to choose by. A failed trial is spent, and counts as worse than any other."
    )
    return PlainTable("budgets", "Budgets", headers, tuple(rows), note)


def trials_csv(outcome: Outcome) -> str:
    """One row a finished trial, with its searched settings; empty where an arm lacks one."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*COLUMNS, *outcome.plan.searched])
    for arm, trials in outcome.arms.items():
        spent = sorted({*trials.records, *trials.failed})
        for place, (trial, best) in enumerate(zip(spent, outcome.best_so_far(arm), strict=True), start=1):
            record = trials.records.get(trial)
            values = {**record.settings.params, **record.chosen} if record else {}
            scores = (record.value if record else None, best, record.seconds if record else None)
            head = [outcome.plan.name, arm, trial, place * outcome.plan.samples]
            writer.writerow([*head, *map(_cell, scores), *(_cell(values.get(key)) for key in outcome.plan.searched)])
    return stream.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def best_so_far(outcome: Outcome) -> Picture:
    """The best score after each trial, one line an arm."""
    figure = new_figure(7, 4.5)
    axis = figure.subplots()
    for arm, look in looks(outcome.plan.arms).items():
        found = [float("nan") if best is None else best for best in outcome.best_so_far(arm)]
        places = range(1, len(found) + 1)
        axis.plot(
            places,
            found,
            color=look.colour,
            marker=look.marker,
            ls=look.line,
            markerfacecolor=look.face,
            drawstyle="steps-post",
        )
    axis.set_xlabel("trials")
    axis.set_ylabel(f"best so far: {axis_label(outcome.plan.metric)}")
    axis.set_xticks(range(1, outcome.plan.trials + 1))
    plain(axis)
    legend(figure, outcome.plan.arms)
    return picture(figure)
