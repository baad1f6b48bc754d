"""`unimm sample` and `unimm export`. Both import what they need when they run."""

from __future__ import annotations

from enum import StrEnum
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


class Layout(StrEnum):
    """How the images of a prompts file are named."""

    FLAT = "flat"
    GENEVAL = "geneval"


def sample(
    run_dir: RunDir,
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to draw, one argument a prompt.", metavar="[PROMPT...]")
    ] = None,
    seeds: Annotated[list[int] | None, typer.Option(min=0, help="Seeds, as in 0 1 2 3.", show_default="0")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Draw a file's prompts instead: .jsonl or .txt, as `unimm score` takes.")
    ] = None,
    images_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Images of every prompt of the file.", show_default="1")
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="Names of the file's images: numbered, or GenEval's folders.", show_default="flat"),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images of the file at once.", show_default="64")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the images.", show_default="RUN_DIR/drawn, or RUN_DIR/drawn-FILE")
    ] = None,
) -> None:
    """Draw prompts from a run's averaged weights; a prompt and a seed always give the same image.

    With --prompts, what was stopped goes on when it is asked for again, and `unimm score` takes the folder.
    """
    with user_errors():
        of_file = {"--images-per-prompt": images_per_prompt, "--layout": layout, "--batch": batch}
        if prompts is None:
            given = [option for option, value in of_file.items() if value is not None]
            if given or not texts:
                raise ValueError(f"{given[0]} is for --prompts FILE" if given else "give prompts, or --prompts FILE")
            _draw_texts(run_dir, texts, seeds or [0], out or run_dir / "drawn")
            return
        if texts or seeds:
            what = "prompts of your own" if texts else "--seeds"
            raise ValueError(f"--prompts draws what the file says, so that nothing reads {what}: give one or the other")
        folder = out or run_dir / f"drawn-{prompts.stem}"
        _draw_file(run_dir, prompts, images_per_prompt or 1, layout or Layout.FLAT, folder, batch)


def _draw_texts(run_dir: Path, texts: list[str], seeds: list[int], out: Path) -> None:
    from unimm.export.sample import write_samples

    drawn = write_samples(run_dir, texts, seeds, out)
    _warn(drawn.unknown)
    typer.echo(f"{len(drawn.files)} images in {drawn.sheet.parent}, all of them on {drawn.sheet}")


def _draw_file(
    run_dir: Path, prompts: Path, images_per_prompt: int, layout: Layout, out: Path, batch: int | None
) -> None:
    from unimm.export.sample_file import write_sample_file
    from unimm.pipeline import BATCH

    try:
        made = write_sample_file(run_dir, prompts, images_per_prompt, layout, out, batch or BATCH)
    except KeyboardInterrupt as stop:
        typer.echo(f"stopped; the same command goes on with what {out} lacks", err=True)
        raise typer.Exit(130) from stop
    _warn(made.unknown)
    before = f", {made.images - made.drawn:,} of them from before" if made.drawn < made.images else ""
    each = "" if images_per_prompt == 1 else f" --images-per-prompt {images_per_prompt}"
    typer.echo(f"{made.images:,} images in {out}{before}; score them: unimm score {out} --prompts {prompts}{each}")


def _warn(unknown: list[str]) -> None:
    """Of words that the model cannot read."""
    if unknown:
        words = ", ".join(unknown)
        typer.echo(f"warning: this model has no word for {words}, so its images cannot show it", err=True)


def export(
    run_dir: RunDir,
    folder: Annotated[Path, typer.Argument(help="New or empty folder for the model.", metavar="DIR")],
) -> None:
    """Write a run as a model for others: safetensors, configurations, tokenizer and a card."""
    with user_errors():
        from unimm.export.export import export_run

        typer.echo(export_run(run_dir, folder))
