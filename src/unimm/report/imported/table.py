"""A table of scores from elsewhere: its columns, and what is wrong with a row, each in one line with its place.

    arm, seed, metric, value     required. An empty value, or NaN, was not measured
    prompt                       the score of one prompt (its number, id or text); rows without are whole runs' scores,
                                 which need not be given beside them
    task                         of that prompt: the run's score is then the mean of the tasks' means
    text                         what prompts that repeat a text have in common (default: no two do)
    unit                         what prompts are: prompt (default), question or description
    samples, flops               what training had consumed. Several rows of one score that differ in `samples` are its
                                 learning curve, the last one the final score
    split                        test (default), or validation: of a learning curve, where final scores come from others
    floor, ceiling               what the score could be at worst and at best
    n, protocol                  items behind the score, and how it was measured, as text or a JSON object
    encoder, objective, strategy what the arm is made of, for sentences
    first_stage                  the first arm whose training begins with the same runs, of arms that share one
    foundation                   the draw of the pretrained parts that a seed stands on, the same in all arms; seeds on
                                 one draw count as one
    study                        the study's name, the same in all rows

A metric called `fact:NAME` is a fact of a run, 1 where it held and else 0. What nothing reads is an error.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from unimm.files import read_text, write_atomic
from unimm.registry import nearest

REQUIRED = ("arm", "seed", "metric", "value")
ARM = ("encoder", "objective", "strategy", "first_stage")
TEXTS = ("prompt", "task", "text", "unit", "split", "protocol", "foundation")
NUMBERS = ("samples", "flops", "floor", "ceiling", "n")
COLUMNS = (
    *("study", "arm", "seed", "metric", "n", "value", "prompt", "task", "text", "unit", "split"),
    *("samples", "flops", "floor", "ceiling", "protocol", *ARM, "foundation"),
)
NOT_MEASURED = ("", "nan", "null", "none", "na", "n/a")
CHOICES = {"unit": ("", "prompt", "question", "description"), "split": ("", "test", "validation")}
FACT = "fact:"
SEPARATORS = (";", "\t", "|")  # of tables that are called CSV too
PARQUET = b"PAR1"  # at both ends of a file


class Row(NamedTuple):
    """One row; texts and numbers by column, those that are empty left out. `place` is where it stands."""

    place: str
    arm: str
    seed: int
    metric: str
    value: float
    texts: Mapping[str, str]
    numbers: Mapping[str, float]

    @property
    def key(self) -> tuple[str, ...]:
        """What no second row may have."""
        run = (self.arm, str(self.seed), self.metric)
        if "prompt" in self.texts:
            return (*run, "prompt", self.texts.get("task", ""), self.texts["prompt"])
        return (*run, self.texts.get("split", "test"), str(self.numbers.get("samples")))


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV or parquet file.

    Raises:
        ValueError: one line for the first thing wrong: with the file, a column or a row, and where that is.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a table of scores (.csv, .parquet), or a folder of JSON logs")
    read = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    return checked(read, str(path))


def checked(rows: Iterable[tuple[str, Mapping[str, str]]], source: str) -> list[Row]:
    """Rows of texts by column, each with its place; ValueError as `read_table`."""
    found: list[Row] = []
    places: dict[tuple[str, ...], str] = {}
    for place, cells in rows:
        row = _row(place, cells)
        first = places.setdefault(row.key, place)
        if first != place:
            what = " ".join(filter(None, (f"{row.arm}, seed {row.seed}: {row.metric}", _of(row))))
            raise ValueError(f"{place} repeats {first} ({what}): keep one of them, or the mean of a prompt's images")
        found.append(row)
    if not found:
        raise ValueError(f"{source} has no rows: write one for every arm, seed and metric")
    studies = dict.fromkeys(row.texts["study"] for row in found if "study" in row.texts)
    if len(studies) > 1:
        raise ValueError(f"{source} holds {' and '.join(studies)} in the column study: import one study at a time")
    return found


def check_columns(names: Iterable[str], source: str) -> None:
    """ValueError for a column that is missing, or that nothing reads."""
    names = list(names)
    if missing := [name for name in REQUIRED if name not in names]:
        raise ValueError(f"{source} has no column {', '.join(missing)}; it has {', '.join(names)}")
    for name in names:
        if name not in COLUMNS:
            guess = nearest(name, COLUMNS)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise ValueError(f"{source}: nothing reads the column {name!r}; {hint}columns: {', '.join(COLUMNS)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{source} has the column {twice[0]} twice")


def _of(row: Row) -> str:
    if "prompt" in row.texts:
        return f"of the prompt {row.texts['prompt']}"
    return f"at {row.numbers['samples']:,.0f} samples" if "samples" in row.numbers else ""


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    names = [name.strip() for name in next(reader, [])]
    if len(names) == 1 and (other := next((mark for mark in SEPARATORS if mark in names[0]), None)):
        raise ValueError(f"{path} separates its columns by {other!r}: save it with commas, and with points in numbers")
    check_columns(names, str(path))
    for cells in reader:
        place = f"{path}, line {reader.line_num}"
        if not any(cells):
            continue
        if len(cells) != len(names):
            raise ValueError(
                f"{place} has {len(cells)} cells, and the table {len(names)} columns: quote what holds a comma"
            )
        yield place, dict(zip(names, cells, strict=True))


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    import pandas as pd

    data = path.read_bytes()
    if not (data.startswith(PARQUET) and data.endswith(PARQUET)):
        raise ValueError(f"{path} is no parquet file, or was cut short: save it again, or as CSV")
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ValueError(f"{path}: parquet needs a package: pip install pyarrow, or save the table as CSV") from error
    except (ValueError, OSError, NotImplementedError) as error:  # the bases of what pyarrow raises
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read as parquet ({reason}): save it again, or as CSV") from error
    frame.columns = frame.columns.map(str)
    check_columns(frame.columns, str(path))
    texts = {name: [_text(value) for value in frame[name].tolist()] for name in frame.columns}
    for number, cells in enumerate(zip(*texts.values(), strict=True), start=1):
        yield f"{path}, row {number}", dict(zip(texts, cells, strict=True))


def _text(value: object) -> str:
    """A cell as CSV would have it: 3.0 of a column of whole numbers with gaps is 3."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "<NA>":
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _row(place: str, cells: Mapping[str, str]) -> Row:
    given = {name: text.strip() for name, text in cells.items() if text.strip()}
    for name in ("arm", "seed", "metric"):
        if name not in given:
            raise ValueError(f"{place} has no {name}")
    for name, choices in CHOICES.items():
        if given.get(name, "") not in choices:
            raise ValueError(f"{place}: {name} is {given[name]!r}; choices: {', '.join(filter(None, choices))}")
    seed = given["seed"].removesuffix(".0")
    if not seed.isdecimal():
        raise ValueError(f"{place}: seed is {given['seed']!r}, which is no whole number")
    value = given.get("value", "")
    measured = math.nan if value.lower() in NOT_MEASURED else _number(place, "value", value)
    numbers = {name: _number(place, name, given[name]) for name in NUMBERS if name in given}
    texts = {name: given[name] for name in (*TEXTS, *ARM, "study") if name in given}
    return Row(place, given["arm"], int(seed), given["metric"], measured, texts, numbers)


def _number(place: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{place}: {name} is {text!r}, which is no number; leave it empty where nothing was measured")
    return value


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows of cells by column, with the columns that some row has, in their usual order; None is empty."""
    rows = list(rows)
    used = [name for name in COLUMNS if any(row.get(name) not in (None, "") for row in rows) or name in REQUIRED]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(used)
    writer.writerows([_cell(row.get(name)) for name in used] for row in rows)
    write_atomic(path, stream.getvalue())


def cells_of(row: Row) -> dict[str, object]:
    """A row as `write_table` takes it."""
    value = None if math.isnan(row.value) else row.value
    return {"arm": row.arm, "seed": row.seed, "metric": row.metric, "value": value, **row.texts, **row.numbers}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))
    return str(value)
