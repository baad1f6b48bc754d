"""The end of a run in the terminal: the headline table and where the page lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from unimm.report.schema import Result
from unimm.report.table import headline, with_error

LEFT_TO_THE_PAGE = frozenset(
    f"diversity/{source}/{factor}_{view}"
    for source in ("latents", "decoder")
    for factor in ("place", "size", "colour")
    for view in ("entropy", "coverage")
)


def print_summary(result: dict[str, Any], page: Path, console: Console | None = None) -> None:
    """Print the scores of `result` (the content of result.json) and the path of `page`."""
    console = console or Console()
    parsed = Result.model_validate(result)
    table = headline(parsed)
    title = f"{parsed.arm}, seed {parsed.seed}, {parsed.profile} on {parsed.world}"
    shown = RichTable(title=escape(title), title_justify="left", box=SIMPLE)
    shown.add_column("score")
    for heading in ("value", "n", *(title.removesuffix(" ceiling") for title in table.references)):
        shown.add_column(escape(heading), justify="right", no_wrap=True)
    group = ""
    for row in table.rows:
        if row.name in LEFT_TO_THE_PAGE:
            continue
        if row.group != group:
            group = row.group
            shown.add_section()
            shown.add_row(Text(group.partition(" (")[0], style="bold"))
        style = "bold" if row.overall else ""
        shown.add_row(Text(f"  {row.label}"), row.value, row.n, *row.references, style=style)
    console.print(shown)
    console.print(Text(f"Report: {page}"), soft_wrap=True)


def print_scores(scores: Sequence[tuple[str, float | None, int, float | None]], console: Console | None = None) -> None:
    """Print (name, value, n, standard error) rows."""
    shown = RichTable(box=SIMPLE)
    shown.add_column("score", no_wrap=True)
    shown.add_column("value", justify="right")
    shown.add_column("n", justify="right")
    for name, value, n, stderr in scores:
        shown.add_row(Text(name), with_error(value, stderr), f"{n:,}")
    (console or Console()).print(shown)
