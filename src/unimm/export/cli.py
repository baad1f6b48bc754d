"""`unimm sample` and `unimm export`. Both import what they need when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from unimm.user_errors import user_errors

RunDir = Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN_DIR")]


class SeedsCommand(TyperCommand):
    """Reads ``--seeds 0 1 2 3`` as four values, where the parser would take one and leave three prompts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option's name before every whole number that follows it."""
        spread: list[str] = []
        counting = False
        for word in args:
            if counting and word.isdecimal() and spread[-1] != "--seeds":
                spread.append("--seeds")
            counting = word.partition("=")[0] == "--seeds" or (counting and word.isdecimal())
            spread.append(word)
        return super().parse_args(ctx, spread)


def sample(
    run_dir: RunDir,
    prompts: Annotated[list[str], typer.Argument(help="What to draw, one argument a prompt.", metavar="PROMPT...")],
    seeds: Annotated[list[int] | None, typer.Option(min=0, help="Seeds, as in 0 1 2 3.", show_default="0")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the images.", show_default="RUN_DIR/drawn")] = None,
) -> None:
    """Draw prompts from a run's averaged weights; a prompt and a seed always give the same image."""
    with user_errors():
        from unimm.export.sample import write_samples

        drawn = write_samples(run_dir, prompts, seeds or [0], out or run_dir / "drawn")
        if drawn.unknown:
            words = ", ".join(drawn.unknown)
            typer.echo(f"warning: this model has no word for {words}, so its images cannot show it", err=True)
        typer.echo(f"{len(drawn.files)} images in {drawn.sheet.parent}, all of them on {drawn.sheet}")


def export(
    run_dir: RunDir,
    folder: Annotated[Path, typer.Argument(help="New or empty folder for the model.", metavar="DIR")],
) -> None:
    """Write a run as a model for others: safetensors, configurations, tokenizer and a card."""
    with user_errors():
        from unimm.export.export import export_run

        typer.echo(export_run(run_dir, folder))
