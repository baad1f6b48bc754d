"""`unimm decoder train`: what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm import completion
from unimm.user_errors import user_errors

app = typer.Typer(help="Ways back from an encoder's tokens to pixels.", no_args_is_help=True)
PREFIX = "decoder."


@app.callback()
def group() -> None:
    """Keep `train` a verb of its own, although there is no other."""


@app.command("train")
def train(
    arm: Annotated[
        Path,
        typer.Argument(
            help="YAML file of an arm with the encoder.", metavar="ARM.yaml", autocompletion=completion.arms
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder of the decoder, for encoder.decoder.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="The arm's settings, and the recipe's as decoder.KEY=VALUE.",
            metavar="[key=value]...",
            autocompletion=completion.overrides,
        ),
    ] = None,
) -> None:
    """Train a diffusion decoder for the arm's encoder, on the arm's images."""
    with user_errors():
        from unimm.config import load
        from unimm.training.decoder import read_recipe, train_decoder

        given = overrides or []
        own = [text.removeprefix(PREFIX) for text in given if text.startswith(PREFIX)]
        recipe = read_recipe(own)
        config = load(arm, [text for text in given if not text.startswith(PREFIX)])
        cost = train_decoder(config, recipe, out)
        typer.echo(f"{out}: {cost.steps} steps in {cost.seconds / 60:.1f} min, loss {cost.loss:.4f}")
