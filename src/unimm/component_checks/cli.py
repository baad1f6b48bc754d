"""`unimm check-component`. It imports what it needs when it runs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from unimm import completion
from unimm.json_output import Json, print_json
from unimm.user_errors import MISTAKE, user_errors

if TYPE_CHECKING:
    from unimm.component_checks.bench import Check


def check_component(
    name: Annotated[
        str,
        typer.Argument(
            help="A component's name, or package.module:Class.", metavar="NAME", autocompletion=completion.checkable
        ),
    ],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Its settings, as in patch=8.", metavar="[key=value]...")
    ] = None,
    foundation: Annotated[str, typer.Option(help="Foundation whose scenes and parts it is given.")] = "scenes-nano",
    resolution: Annotated[
        int | None, typer.Option(min=8, help="Side of the images.", show_default="the foundation's")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Check an encoder, objective, head, backbone or metric by itself, before runs spend hours with it."""
    with user_errors():
        from unimm.component_checks import checking
        from unimm.devices import pick_device
        from unimm.foundation.folder import Foundation

        found: list[Check] = []
        checks = checking.check_component(name, settings or (), Foundation(foundation, resolution), pick_device(device))
        for check in checks:
            found.append(check)
            if not as_json:
                typer.echo(_shown(check))
        if as_json:
            print_json([check._asdict() for check in found])
        if any(check.verdict == "broken" for check in found):
            raise typer.Exit(MISTAKE)


def _shown(check: Check) -> str:
    """One finding, within 80 columns."""
    lead = f"{check.verdict:<8}{check.name:<20}"
    return textwrap.fill(
        check.found, 80, initial_indent=lead, subsequent_indent=" " * len(lead), break_long_words=False
    )
