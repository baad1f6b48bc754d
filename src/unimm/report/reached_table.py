"""When a run first reached its preset scores, as a table."""

from collections.abc import Callable

from unimm.report.plain_table import PlainTable
from unimm.report.schema import Bounds, Reached, Result
from unimm.report.table import described, duration, number

_NOTE = (
    "First crossing on validation prompts, log-linear between snapshots, that the next snapshot confirms. Targets are "
    "the same for every run. A run that has not reached one by its last snapshot is censored: it is at least so dear, "
    "and comparisons keep it. Training only; the foundation's cost stands in its card."
)


def reached_table(result: Result) -> PlainTable | None:
    """One row a preset score; None for a run without a learning curve."""
    if result.efficiency is None or not result.efficiency.reached:
        return None
    rows = tuple(
        (
            f"{_words(row)} {row.target:g}",
            _outcome(row, result.curve[-1].samples),
            _shown(row.samples, "{:,.0f}".format),
            _shown(row.flops, lambda value: number(value / 1e12)),
            _shown(row.seconds, duration),
        )
        for row in result.efficiency.reached
    )
    headers = ("score", "reached?", "samples", "TFLOP", "training time")
    return PlainTable("reached", "Cost of reaching a preset score", headers, rows, _NOTE, text_columns=2)


def _words(row: Reached) -> str:
    group, label = described(row.score)
    return f"{group.partition(' (')[0]}, {label}:"


def _outcome(row: Reached, last: int) -> str:
    if row.samples.high is not None:
        return "yes" if row.samples.low else "before the first snapshot"
    if row.samples.low < last:
        return "at the last snapshot only, which none confirms"
    return f"not reached in {last:,} samples"


def _shown(bounds: Bounds, form: Callable[[float], str]) -> str:
    if bounds.high is None:
        return f"≥ {form(bounds.low)}"
    return form(bounds.low) if bounds.low == bounds.high else f"< {form(bounds.high)}"
