"""`--json`: a verb's answer as one JSON value on stdout, for scripts. Progress and messages go to stderr."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, for scripts.")]


def print_json(value: Any) -> None:
    """Print `value`; numbers that JSON lacks (NaN, infinities) become null."""
    from unimm.files import as_json

    typer.echo(as_json(value), nl=False)
