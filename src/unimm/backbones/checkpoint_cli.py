"""`unimm checkpoint`: what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm.user_errors import user_errors

app = typer.Typer(help="Checkpoints in other formats.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `import` a verb of its own, although there is no other."""


@app.command("import")
def import_checkpoint(
    source: Annotated[
        str, typer.Argument(help="A GGUF file, or an installed package with one.", metavar="PACKAGE_OR_GGUF")
    ],
    folder: Annotated[Path, typer.Argument(help="New or empty folder, for backbone.pretrained.", metavar="DIR")],
) -> None:
    """Write a causal language model in a GGUF file as a folder of transformers."""
    with user_errors():
        from unimm.backbones.gguf_import import import_gguf

        made = import_gguf(source, folder)
        typer.echo(f"{folder}: {made.model}, {made.parameters:,} parameters, from {made.file.name}")
