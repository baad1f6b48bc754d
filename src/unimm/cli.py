"""The `unimm` command. Verbs import what they need when they run, so `unimm --help` never loads torch."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

PACKAGE = Path(__file__).parent

app = typer.Typer(
    help="Ablation studies of unified multimodal models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
foundation = typer.Typer(help="The pretrained parts that every arm starts from.", no_args_is_help=True)
app.add_typer(foundation, name="foundation")

RunDir = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_DIR")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn mistakes of the user into one message on stderr and exit code 2; bugs keep their traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        if isinstance(error, ValueError) and not _raised_here(error):
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _raised_here(error: ValueError) -> bool:
    """Whether unimm itself raised the error: a ValueError from inside a library is a bug, not advice."""
    last = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return Path(last.f_code.co_filename).is_relative_to(PACKAGE)


@app.command()
def run(
    arm: Annotated[Path, typer.Argument(help="YAML file of the arm.", metavar="ARM.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Only show the resolved YAML.")] = False,
) -> None:
    """Train, sample and score one arm with one seed."""
    with user_errors():
        from unimm.config import dump, load

        if resume and overwrite:
            raise ValueError("--resume continues a run and --overwrite deletes it: give one of them")
        config = load(arm, overrides or [])
        if print_config:
            typer.echo(dump(config), nl=False)
            return
        from unimm.training import job

        default = Path("experiments/runs") / config.profile / f"{config.name}-seed{config.seed}"
        folder = out or default
        try:
            result = job.run(config, folder, resume=resume, overwrite=overwrite)
        except job.Interrupted as stop:
            typer.echo(f"{stop} (folder {folder})", err=True)
            raise typer.Exit(130) from stop
        _present(result, folder)


@app.command()
def score(
    path: Annotated[Path, typer.Argument(help="Folder of a trained run, or of images with --prompts.", metavar="PATH")],
    prompts: Annotated[Path | None, typer.Option(help="Prompts of a folder of images: .jsonl or .txt.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics for images, as in geneval,distance.", show_default="all that apply")
    ] = None,
    images_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Images that every prompt has.", show_default="1")
    ] = None,
    foundation: Annotated[
        str | None,
        typer.Option(help="Foundation whose judge and evaluators score images.", show_default="scenes-nano"),
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of real images; default: the world's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the scores to this JSON file.")] = None,
) -> None:
    """Score a trained run again, or a folder of PNG images that may come from anywhere."""
    with user_errors():
        if prompts is None:
            for_images = (metrics, images_per_prompt, foundation, reference, out)
            if any(value is not None for value in for_images):
                raise ValueError("a run is scored by its own protocol; the options are for images, with --prompts FILE")
            from unimm.training import job

            _present(job.score(path), path)
            return
        from unimm.evaluation.folder import score_folder
        from unimm.files import write_json
        from unimm.foundation.load import Foundation
        from unimm.report.terminal import print_scores

        names = None if metrics is None else [name.strip() for name in metrics.split(",")]
        source = Foundation(foundation or "scenes-nano")
        scores = score_folder(path, prompts, names, source, images_per_prompt or 1, reference)
        print_scores([(row.name, row.value, row.n) for row in scores])
        if out is not None:
            write_json(out, [row._asdict() for row in scores])


def _present(result: dict[str, Any], folder: Path) -> None:
    """Write the page and print the table."""
    from unimm.report import page
    from unimm.report.terminal import print_summary

    print_summary(result, page.write(folder))


@app.command()
def report(run_dir: RunDir) -> None:
    """Write a run's report page."""
    with user_errors():
        from unimm.report import page

        typer.echo(page.write(run_dir))


@foundation.command("build")
def foundation_build(
    name: Annotated[str, typer.Argument(help="Name of the foundation, such as scenes-nano.")],
    profile: Annotated[str, typer.Option(help="Size of everything: tiny, nano or small.")],
    out: Annotated[Path | None, typer.Option(help="Folder that will hold OUT/NAME.", show_default="the cache")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Build only this part; repeatable.")] = None,
) -> None:
    """Train the pretrained parts from nothing."""
    with user_errors():
        from unimm.foundation import build
        from unimm.foundation.load import built

        build.build(profile, (out or built()) / name, tuple(part or ()))


@foundation.command("show")
def foundation_show(
    name: Annotated[str, typer.Argument(help="Name of a shipped foundation, or a folder.")],
) -> None:
    """Print the parts of a foundation, and whether their hashes hold."""
    with user_errors():
        from unimm.doctor import foundation_files

        for line in foundation_files(name):
            typer.echo(line)


@app.command("list")
def list_kind(kind: Annotated[str, typer.Argument(help="encoders, objectives, strategies, ...")]) -> None:
    """List the components of one kind with a line about each."""
    with user_errors():
        from unimm.registry import KINDS, nearest

        if kind not in KINDS:
            guess = nearest(kind, KINDS)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise ValueError(f"no kind {kind!r}; {hint}choices: {', '.join(KINDS)}")
        for name in KINDS[kind].names():
            typer.echo(f"{name:<22}{KINDS[kind].describe(name)}")


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Arm files.", metavar="FILES...")]) -> None:
    """Validate arm files without running them."""
    from unimm.config import ConfigError, load

    failed = False
    for file in files:
        try:
            config = load(file)
        except ConfigError as error:
            failed = True
            typer.echo(f"error: {error}", err=True)
        else:
            typer.echo(f"ok     {file} ({config.name}: {config.training.steps} steps)")
    if failed:
        raise typer.Exit(2)


@app.command()
def doctor() -> None:
    """Show versions, machine, disk, caches and whether the shipped foundations are whole."""
    with user_errors():
        from unimm import doctor as checks

        for name, value in checks.report():
            typer.echo(f"{name:<16}{value}")
