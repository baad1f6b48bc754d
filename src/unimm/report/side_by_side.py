"""Runs side by side (`unimm compare`): scores with paired differences, settings, the same prompts' images, cost.

The first run is the one that others are compared with. Where both have a score of the same prompts or questions, the
difference is taken prompt by prompt, with its interval over texts (`unimm.analysis.contrast.compare_runs`); of other
scores it is a number without one. One run of each says nothing about other seeds: that is what studies are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from unimm.analysis.contrast import Comparison, compare_runs
from unimm.config import ABSENT, flatten, shown
from unimm.evaluation.words import Glossary, Words
from unimm.files import write_atomic
from unimm.report.rendering import PlainTable, environment
from unimm.report.study.by_item import by_item_of
from unimm.report.study.every_claim import TRAINED
from unimm.report.study.figures import Shown, same_prompts
from unimm.report.study.folder import StudyRun, read_run
from unimm.report.study.limits import not_comparable
from unimm.report.study.numbers import between, signed
from unimm.report.table import cost, shown_value
from unimm.runs.record import RESULT, ScoreRecord

LETTERS = "ABCDEFGH"
PROMPTS_SHOWN, PROMPTS_LISTED = 24, 12
NONE = "-"
NOTE = (
    "Differences with their 95 % interval over texts of the same prompts or questions, * where it excludes 0; none "
    "where a score has no value by prompt. One interval a score, not adjusted for their number. Nothing here says "
    "how runs of other seeds would differ: a study does."
)


@dataclass(frozen=True)
class SideBySide:
    """What terminal and page show; runs are named by letters, `names` says which is which, `slug` names the folder."""

    names: dict[str, str]
    slug: str
    scores: list[PlainTable]
    headlines: list[PlainTable]
    settings: PlainTable
    cost: PlainTable
    images: list[tuple[str, tuple[Shown, ...]]]


def compare(folders: Sequence[Path]) -> SideBySide:
    """Read two to eight finished runs and set them side by side.

    Raises:
        ValueError: fewer or more runs, one given twice, or a folder without a finished run.
    """
    if not 2 <= len(folders) <= len(LETTERS):
        raise ValueError(f"give two to {len(LETTERS)} runs; the others are compared with the first")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a run is given twice: it does not differ from itself")
    for folder in folders:
        if not (folder / RESULT).is_file():
            raise ValueError(f"{folder} is no finished run: it has no {RESULT}; `unimm report --compare` takes studies")
    runs = {letter: read_run(folder) for letter, folder in zip(LETTERS, folders, strict=False)}
    words = Glossary({name: own for run in runs.values() for name, own in run.result.words.items()})
    first, *others = runs
    metrics = words.ordered({score.name for run in runs.values() for score in run.result.scores})
    heads = words.headlines(metrics)
    pairs = [(first, other) for other in others]
    return SideBySide(
        names={letter: _name(run) for letter, run in runs.items()},
        slug="-and-".join(f"{run.result.arm}-seed{run.result.seed}" for run in runs.values()),
        scores=[_scores(runs, pair, metrics, words) for pair in pairs],
        headlines=[_scores(runs, pair, heads, words) for pair in pairs],
        settings=_settings(runs),
        cost=_cost(runs),
        images=same_prompts([run.folder for run in runs.values()], PROMPTS_SHOWN),
    )


def _name(run: StudyRun) -> str:
    return f"{run.result.arm}, seed {run.result.seed} ({run.folder.path})"


def _scores(runs: dict[str, StudyRun], pair: tuple[str, str], metrics: Sequence[str], words: Glossary) -> PlainTable:
    """One row a score: both runs, and how much the second is above the first."""
    a, b = pair
    rows = tuple(_row(runs[a], runs[b], metric, words[metric]) for metric in metrics)
    headers = ("score", a, b, f"{b} - {a}")
    return PlainTable(f"scores-{b}", f"Scores of {b} beside {a}", headers, rows)


def _row(first: StudyRun, second: StudyRun, metric: str, words: Words) -> tuple[str, str, str, str]:
    scores = [_score(run, metric) for run in (first, second)]
    label = words.headline or f"{words.section}: {words.label}"
    a, b = (NONE if score is None else shown_value(score) for score in scores)
    return (label, a, b, _difference(first, second, metric))


def _score(run: StudyRun, metric: str) -> ScoreRecord | None:
    return next((score for score in run.result.scores if score.name == metric), None)


def _difference(first: StudyRun, second: StudyRun, metric: str) -> str:
    """Second minus first, with its interval where they share prompts, or why there is none."""
    found = [score for run in (first, second) if (score := _score(run, metric)) is not None]
    difference = second.value(metric) - first.value(metric)
    if len(found) < 2 or math.isnan(difference):
        return NONE
    if why := not_comparable(metric, found):
        return f"not comparable: {why}"
    paired = paired_difference(first, second, metric)
    if paired is None:
        return signed(difference)
    star = " *" if paired.low > 0 or paired.high < 0 else ""
    return f"{signed(paired.estimate)} ({between(paired.low, paired.high, signed)}){star}"


def paired_difference(first: StudyRun, second: StudyRun, metric: str) -> Comparison | None:
    """Second minus first by prompt or question, or None where they have no scores of the same ones."""
    items = by_item_of({"first": [first], "second": [second]}, metric)
    if items is None:
        return None
    own = {name: values[0] for name, values in items.scores.items()}
    return compare_runs(own["second"], own["first"], tasks=items.strata, texts=items.texts)


def _settings(runs: dict[str, StudyRun]) -> PlainTable:
    """Every setting, pretrained part and world in which runs differ."""
    found = {letter: _described(run) for letter, run in runs.items()}
    keys = dict.fromkeys(key for own in found.values() for key in own)
    cells = {key: tuple(shown(own.get(key, ABSENT)) for own in found.values()) for key in keys}
    rows = tuple((key, *values) for key, values in cells.items() if len(set(values)) > 1)
    return PlainTable("settings", "Settings that differ", ("setting", *runs), rows, text_columns=1 + len(runs))


def _described(run: StudyRun) -> dict[str, object]:
    result = run.result
    parts = {f"hash of {name}": value for name, value in result.hashes.items() if name not in TRAINED}
    return {**flatten(result.config), "world": result.world, "device": result.device, **parts}


def _cost(runs: dict[str, StudyRun]) -> PlainTable:
    """What each run consumed."""
    columns = [
        {
            "trainable parameters": f"{run.result.parameters.trainable:,}",
            "generation samples": f"{run.result.counts.generation_samples:,}",
            "understanding samples": f"{run.result.counts.understanding_samples:,}",
            **dict(cost(run.result)),
        }
        for run in runs.values()
    ]
    rows = tuple(
        (label, *(own.get(label, NONE) for own in columns)) for label in dict.fromkeys(k for c in columns for k in c)
    )
    return PlainTable("cost", "Cost", ("what", *runs), rows)


def write(found: SideBySide, folder: Path) -> Path:
    """Write the page, one file, and return its path."""
    page = folder / "compare.html"
    write_atomic(page, environment().get_template("runs.html.j2").render(found=found, note=NOTE))
    return page


def show(found: SideBySide, console: Console | None = None) -> None:
    """Print names, headline scores, settings, verdicts on the same prompts, and cost."""
    console = console or Console()
    for letter, name in found.names.items():
        console.print(Text(f"{letter}  {name}"), soft_wrap=True)
    for table in (*found.headlines, found.settings, _judged(found), found.cost):
        if table.rows:
            console.print(_rich(table))
    console.print(Text(NOTE, style="dim"))


def _judged(found: SideBySide) -> PlainTable:
    """What the judge said of the same prompts' images."""
    rows = [(prompt, *("right" if image.correct else "wrong" for image in own)) for prompt, own in found.images]
    step = max(1, -(-len(rows) // PROMPTS_LISTED))
    return PlainTable(
        "judged", "The same prompts' images", ("prompt", *found.names), tuple(rows[::step]), text_columns=9
    )


def _rich(table: PlainTable) -> RichTable:
    made = RichTable(title=table.title, title_justify="left", box=SIMPLE, pad_edge=False)
    for number, header in enumerate(table.headers):
        made.add_column(header, justify="left" if number < table.text_columns else "right", overflow="fold")
    for row in table.rows:
        made.add_row(*map(Text, row))
    return made
