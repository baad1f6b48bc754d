"""A simulation's table in Markdown, of as many studies a row as the command line asks for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def percent(rate: float) -> str:
    """A rate as `5.1`."""
    return f"{100 * rate:.1f}"


def main(table: Callable[[int], Table], note: str, studies: int = 4000) -> None:
    """Print `table` of `studies` a row, or as many as `--studies` says, with what its numbers are."""
    parser = argparse.ArgumentParser(description=note)
    parser.add_argument("--studies", type=int, default=studies, help=f"studies for each row (default: {studies})")
    given = parser.parse_args().studies
    headers, rows = table(given)
    print(f"{note} {given:,} studies a row.\n")
    for cells in (headers, ["---"] * len(headers), *rows):
        print(f"| {' | '.join(cells)} |")
