"""The headline table, shared by page and terminal: one row per score, with its floors and ceilings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from unimm.evaluation.words import Glossary
from unimm.runs.record import Result

# Of runs that counted FLOPs on eight steps, whose share of long captions is chance.
FIRST_STEPS = ", as in the first eight steps"


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table, ready to print; `references` follows the table's floor and ceiling columns."""

    group: str
    name: str
    label: str
    value: str
    n: str
    references: tuple[str, ...]

    @property
    def overall(self) -> bool:
        """Whether the row sums up its group."""
        return self.name.endswith("/overall")


@dataclass(frozen=True)
class Table:
    """The headline table: the titles of its floor and ceiling columns, and its rows."""

    references: tuple[str, ...]
    rows: tuple[ScoreRow, ...]


def headline(result: Result) -> Table:
    """Every score of the run, plus what it cost, beside each floor and ceiling."""
    columns = {"floor": _merged(result.floors)} | _ceilings(result.ceilings)
    scores, glossary = {score.name: score for score in result.scores}, Glossary(result.words)
    rows = []
    for name in glossary.ordered({*scores, *(key for values in columns.values() for key in values)}):
        words = glossary[name]
        score = scores.get(name)
        references = tuple(number(values[name]) if name in values else "" for values in columns.values())
        value, n = (shown_value(score), f"{score.n:,}") if score else ("", "")
        rows.append(ScoreRow(words.group, name, words.label, value, n, references))
    spent = [ScoreRow("Cost", label, label, value, "", ("",) * len(columns)) for label, value in cost(result)]
    return Table(tuple(columns), (*rows, *spent))


def _merged(floors: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """All floors in one column: each score has one floor, the cheapest way to get it without doing the task."""
    merged: dict[str, float | None] = {}
    for values in floors.values():
        merged |= values
    return merged


def _ceilings(found: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """A column a ceiling; one of other scores altogether stands in the first column, which has room for it."""
    columns: dict[str, dict[str, float | None]] = {}
    for name, values in found.items():
        own = f"{name.replace('_', ' ')} ceiling"
        home = next((title for title, there in columns.items() if there.keys().isdisjoint(values)), own)
        columns[home] = columns.get(home, {}) | values
    return columns


def cost(result: Result) -> tuple[tuple[str, str], ...]:
    """What the run cost, as pairs of label and value."""
    speed = result.speed
    cells: tuple[tuple[str, str], ...] = (
        ("training speed (samples/s)", number(speed.samples_per_second)),
        ("training time", duration(speed.train_seconds)),
        ("scoring time", duration(speed.score_seconds)),
        ("wall time", duration(speed.wall_seconds)),
        ("waiting for data (fraction)", number(speed.data_wait_fraction)),
    )
    if result.efficiency is not None:
        spent = result.efficiency
        cells += (
            (f"training work (TFLOP{'' if spent.passes else FIRST_STEPS})", number(spent.train_flops / 1e12)),
            ("sampling work (GFLOP an image)", number(spent.sampling_flops_per_image / 1e9)),
            ("sampling time (seconds an image)", number(spent.sampling_seconds_per_image)),
            ("peak memory (GiB)", number(spent.peak_memory_bytes / 2**30)),
        )
    return cells


def number(value: float | None) -> str:
    """Three decimals below ten, fewer above; `n/a` for what could not be measured."""
    if value is None or not math.isfinite(value):
        return "n/a"
    decimals = next((d for limit, d in ((10, 3), (100, 2), (1000, 1)) if abs(value) < limit), 0)
    return f"{value:,.{decimals}f}"


class Scored(Protocol):
    """A score as a row shows it, whoever took it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def value(self) -> float | None:
        """Its value."""

    @property
    def n(self) -> int:
        """Over how many items it was taken."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How it was measured."""

    @property
    def stderr(self) -> float | None:
        """Its standard error."""


def shown_value(score: Scored) -> str:
    """A score's value, with what chance alone would give, and marked where so few images bias it."""
    biased = "biased" if score.protocol.get("biased") else ""
    return with_chance(with_error(score.value, score.stderr), chance(score.protocol), biased)


def chance(protocol: Mapping[str, Any]) -> float | None:
    """What a Fréchet distance comes to between as many images of one kind as were compared; None for other scores."""
    expected = protocol.get("expected bias")
    return float(expected) if isinstance(expected, int | float) else None


def with_chance(text: str, expected: float | None, more: str = "") -> str:
    """A value and, where there is one, what chance alone gives; `more` follows in the same parentheses."""
    remarks = [] if expected is None else [f"chance {expected:,.0f}" if expected >= 100 else f"chance {expected:.3g}"]
    remarks += [more] if more else []
    return f"{text} ({', '.join(remarks)})" if remarks else text


def with_error(value: float | None, stderr: float | None) -> str:
    """A value and, where there is one, its standard error."""
    return number(value) if value is None or stderr is None else f"{number(value)} ± {number(stderr)}"


def duration(seconds: float | None) -> str:
    """Seconds, or minutes or hours once there are enough of them."""
    if seconds is None or not math.isfinite(seconds):
        return "n/a"
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
