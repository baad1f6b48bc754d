"""`unimm tower train`: what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm.user_errors import user_errors

app = typer.Typer(help="Image towers that learn without text.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `train` a verb of its own, although there is no other."""


@app.command("train")
def train(
    out: Annotated[Path, typer.Option(help="New folder of the tower, for encoder.pretrained.")],
    profile: Annotated[str, typer.Option(help="Size of tower and images: tiny, nano or small.")] = "nano",
) -> None:
    """Train a tower like the foundation's CLIP by masked autoencoding, on the same scenes without their captions."""
    with user_errors():
        from unimm.devices import pick_device
        from unimm.pretraining.masked import build_tower

        cost = build_tower(profile, out, pick_device("auto"))
        typer.echo(f"{out}: {cost.steps} steps in {cost.seconds / 60:.1f} min, loss {cost.loss:.4f}")
