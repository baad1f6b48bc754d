"""Reads a tuning's folder and writes what was found there: settings, every trial as a row, pages, tables, a figure.

Read are `plan.json` and `trials/<arm>/trial<k>/`. `tuned.yaml` is written only when every arm has spent the same,
whole budget.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from unimm.config import flatten
from unimm.evaluation.words import Glossary
from unimm.files import read_text, write_atomic
from unimm.report.rendering import PlainTable, environment, inline, markdown
from unimm.report.study.folder import PlanRecord, check_frozen
from unimm.report.study.page import write_figures, write_tables
from unimm.report.study.style import Picture, legend, looks, new_figure, picture, plain
from unimm.report.study.told_apart import FIRST_OF_EQUALS, gain, remark, told_apart
from unimm.report.table import duration, number
from unimm.runs.record import GIVEN_UP, PLAN, read_record
from unimm.runs.trial_record import TRIAL, TrialRecord
from unimm.schema import INSTEAD

TUNED = "tuned.yaml"
COLUMNS = ("tuning", "arm", "trial", "samples_so_far", "value", "best_so_far", "seconds")
NONE = "-"


class TuningPlanRecord(PlanRecord):
    """`plan.json` of a tuning, frozen before the first trial."""

    seed: int
    trials: int
    samples: int
    prompts: int
    metric: str
    sampler: dict[str, Any]
    space: dict[str, dict[str, Any]]
    by_sampling: dict[str, list[Any]]

    @property
    def searched(self) -> list[str]:
        """Every searched setting."""
        return [*self.space, *self.by_sampling]


@dataclass(frozen=True)
class ArmTrials:
    """One arm's finished trials by their number, and the numbers of those that were given up."""

    records: Mapping[int, TrialRecord]
    failed: frozenset[int]

    @property
    def spent(self) -> int:
        """Trials that used up budget."""
        return len(self.records) + len(self.failed)

    @property
    def best(self) -> TrialRecord | None:
        """The finished trial with the highest score, the first of equal ones."""
        scored = [record for _, record in sorted(self.records.items()) if record.value is not None]
        return max(scored, key=lambda record: record.value or 0.0, default=None)

    @property
    def untuned(self) -> float | None:
        """Score of the arm as it stands."""
        return self.records[0].untuned if 0 in self.records else None

    @property
    def samples(self) -> int:
        """Samples of all finished trials."""
        return sum(record.samples for record in self.records.values())


@dataclass(frozen=True)
class TuningOutcome:
    """A tuning as far as it got."""

    path: Path
    plan: TuningPlanRecord
    arms: Mapping[str, ArmTrials]

    def skipped(self, arm: str) -> list[str]:
        """Searched settings that the arm does not have."""
        known = flatten(self.plan.arms[arm].config)
        return [key for key in self.plan.searched if key not in known]

    def best_so_far(self, arm: str) -> list[float | None]:
        """The highest score after each spent trial, None before the first score."""
        trials, best, found = self.arms[arm], None, []
        for trial in sorted({*trials.records, *trials.failed}):
            value = trials.records[trial].value if trial in trials.records else None
            best = value if best is None or (value is not None and value > best) else best
            found.append(best)
        return found

    def problems(self) -> list[str]:
        """Why arms cannot be compared yet: trials are missing, or some arm was given another budget than the plan's."""
        found = []
        for arm, trials in self.arms.items():
            if trials.spent != self.plan.trials:
                found.append(f"{arm}: {trials.spent} of {self.plan.trials} trials")
            found += [
                f"{arm} trial {n}: {why}" for n, record in trials.records.items() for why in self._odd(arm, record)
            ]
            if trials.spent == self.plan.trials and trials.best is None:
                found.append(f"{arm}: no trial gave a score")
        return found

    def _odd(self, arm: str, record: TrialRecord) -> list[str]:
        """In what a trial is not as planned."""
        settings, planned, ran = record.settings, flatten(self.plan.arms[arm].config), flatten(record.settings.config)
        own = {key: values for key, values in self.plan.by_sampling.items() if key in planned}
        images = {other.n for trials in self.arms.values() for other in trials.records.values()}
        batch = int(ran["training.batch_size"])
        searched = {*settings.params, *(INSTEAD[key] for key in settings.params if key in INSTEAD)}
        changed = [key for key in planned if ran.get(key) != planned[key] and key not in searched]
        checks = {
            f"trained on {record.samples:,} samples": record.samples != self.plan.samples // batch * batch,
            f"made with seed {ran['seed']}": ran["seed"] != self.plan.seed,
            f"scored on {record.n} images": record.n != min(images),
            f"scored by {settings.metric}": settings.metric != self.plan.metric,
            "chose by sampling among other values": settings.by_sampling != own,
            f"differs in {', '.join(changed)}": bool(changed),
            "searched other settings": bool(set(settings.params) - set(self.plan.space)),
        }
        return [text for text, holds in checks.items() if holds]


def read(folder: Path) -> TuningOutcome:
    """Read the tuning in `folder`; ValueError says which file is missing or malformed."""
    path = folder / PLAN
    if not path.is_file():
        raise ValueError(f"{folder} is no tuning: it has no {PLAN}. Start one with `unimm study tune TUNING.yaml`.")
    try:
        plan = TuningPlanRecord.model_validate_json(read_text(path, "restore it"))
    except ValidationError as error:
        raise ValueError(f"{path} is not a tuning's plan that this unimm reads: {error}") from error
    check_frozen(path, "restore it")
    return TuningOutcome(folder, plan, {arm: _trials(folder / "trials" / arm, plan) for arm in plan.arms})


def _trials(folder: Path, plan: TuningPlanRecord) -> ArmTrials:
    records, failed = {}, set()
    for trial in range(plan.trials):
        path = folder / f"trial{trial}" / TRIAL
        if path.is_file():
            record = read_record(path, TrialRecord)
            if record.settings.plan == plan.hash:
                records[trial] = record
        elif path.with_name(GIVEN_UP).is_file():
            failed.add(trial)
    return ArmTrials(records, frozenset(failed))


def write(folder: Path) -> Path:
    """Read the tuning in `folder`, write its outcome there, and return the path of the html page."""
    outcome = read(folder)
    problems = outcome.problems()
    if problems:
        (folder / TUNED).unlink(missing_ok=True)
    else:
        write_atomic(folder / TUNED, yaml.safe_dump(tuned(outcome), sort_keys=False))
    records = {arm: list(trials.records.values()) for arm, trials in outcome.arms.items()}
    apart = [told_apart(records, list(outcome.plan.by_sampling))] if outcome.plan.by_sampling else []
    tables = (against_default(outcome), *apart, budgets(outcome))
    figures = {"best_so_far": best_so_far(outcome)} if any(arm.records for arm in outcome.arms.values()) else {}
    write_atomic(folder / "trials.csv", trials_csv(outcome))
    write_tables(folder, tables)
    write_figures(folder, figures)
    context = {
        "plan": outcome.plan,
        "problems": problems,
        "tables": tables,
        "metric": Glossary()[outcome.plan.metric].short,
    }
    pages = environment()
    text = pages.get_template("study_tuning.md.j2").render(**context, figures=figures.keys(), markdown=markdown)
    write_atomic(folder / "report.md", text)
    inlined = {name: inline(shown.svg, "svg+xml") for name, shown in figures.items()}
    page = folder / "report.html"
    write_atomic(page, pages.get_template("study_tuning.html.j2").render(**context, figures=inlined))
    return page


def tuned(outcome: TuningOutcome) -> dict[str, Any]:
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


def against_default(outcome: TuningOutcome) -> PlainTable:
    """One row an arm: its score as it stands, tuned, and with which settings."""
    plan, words = outcome.plan, Glossary()[outcome.plan.metric]
    headers = ("arm", "as it stands", "tuned", "gain", "best trial", *plan.searched)
    rows = []
    for arm, trials in outcome.arms.items():
        best, own = trials.best, trials.untuned
        found = [NONE if v is None else number(v) for v in (own, best.value if best else None)]
        gained = gain(best, trials.records[0]) if best and 0 in trials.records else NONE
        settings = {**best.settings.params, **best.chosen} if best else {}
        skipped = outcome.skipped(arm)
        cells = [_setting(key, settings, skipped) + (remark(best, key) if best else "") for key in plan.searched]
        rows.append((arm, *found, gained, _number(trials), *cells))
    note = (
        f"Scores are {words.short} on the validation prompts with the tuning seed {plan.seed}, which no study "
        "reports. The best of several trials is an optimistic number: what tuning is worth, a study says that runs "
        "tuned arms beside the others (`tuned:` in its file), with other seeds and on test prompts. Trial 0 is the arm "
        "as it stands, with guidance and EMA chosen by sampling. A value that others equalled is the first of them: it "
        "was not found to be better."
    )
    return PlainTable("tuned", "Tuned against default", headers, tuple(rows), note)


def _number(trials: ArmTrials) -> str:
    """The best trial, and how many were as good."""
    if trials.best is None:
        return NONE
    equal = sum(record.value == trials.best.value for record in trials.records.values())
    return str(trials.best.settings.number) + (f" ({FIRST_OF_EQUALS.format(equal)})" if equal > 1 else "")


def _setting(key: str, settings: dict[str, Any], skipped: list[str]) -> str:
    if key in skipped:
        return "no such setting"
    value = settings.get(key)
    return "as it stands" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def budgets(outcome: TuningOutcome) -> PlainTable:
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


def trials_csv(outcome: TuningOutcome) -> str:
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


def best_so_far(outcome: TuningOutcome) -> Picture:
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
    axis.set_ylabel(f"best so far: {Glossary()[outcome.plan.metric].axis}")
    axis.set_xticks(range(1, outcome.plan.trials + 1))
    plain(axis)
    legend(figure, outcome.plan.arms)
    return picture(figure)
