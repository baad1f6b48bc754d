"""The `unimm` command. Verbs import what they need when they run, so `unimm --help` never loads torch."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimm import __version__, completion
from unimm.backbones.checkpoint_cli import app as checkpoint
from unimm.completion import Arm, Overrides
from unimm.component_checks.cli import check_component
from unimm.curation.cli import app as data
from unimm.evaluation.cli import judge
from unimm.export.cli import SeedsCommand, export, sample
from unimm.json_output import Json, print_json
from unimm.planning.cli import plan
from unimm.pretraining.tower_cli import app as tower
from unimm.report.cli import view
from unimm.study.cli import app as study
from unimm.training.decoder_cli import app as decoder
from unimm.user_errors import MISTAKE, Interrupted, user_errors

if TYPE_CHECKING:
    from unimm.config import RunConfig
    from unimm.runs.record import Result

app = typer.Typer(
    help="Ablation studies of unified multimodal models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
foundation = typer.Typer(help="The pretrained parts that every arm starts from.", no_args_is_help=True)
app.add_typer(foundation, name="foundation")
app.add_typer(study, name="study")
app.add_typer(data, name="data")
app.add_typer(decoder, name="decoder")
app.add_typer(tower, name="tower")
app.add_typer(checkpoint, name="checkpoint")

RunDir = Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN_DIR")]


def _version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        typer.echo(f"unimm {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Ablation studies of unified multimodal models."""


@app.command()
def run(
    arm: Arm,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="With --resume: train a finished run on, to more training.samples.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Show the log elsewhere too: tensorboard, wandb, trackio; repeatable.", envvar="UNIMM_TRACK"),
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Only show the resolved YAML.")] = False,
) -> None:
    """Train, sample and score one arm with one seed."""
    with user_errors():
        from unimm.config import dump, load
        from unimm.progress import say
        from unimm.training.trackers import chosen

        if resume and overwrite:
            raise ValueError("--resume continues a run and --overwrite deletes it: give one of them")
        if extend and not resume:
            raise ValueError(
                "--extend goes on with a run, and a new one has its length from training.samples: add --resume"
            )
        chosen(track or ())  # before anything is loaded
        config = load(arm, overrides or [])
        if print_config:
            typer.echo(dump(config), nl=False)
            return
        folder = out or _default_folder(config)
        if folder.is_file():
            raise FileExistsError(errno.EEXIST, "a file", str(folder))
        say(f"{config.name}, seed {config.seed}, profile {config.profile}: loading libraries\nfolder: {folder}")
        from unimm.runs import stages

        try:
            result = stages.run(config, folder, resume, overwrite, extend, track or ())
        except Interrupted as stop:
            typer.echo(f"{stop} (folder {folder})", err=True)
            raise typer.Exit(130) from stop
        _present(result, folder)


@app.command()
def score(
    path: Annotated[
        Path, typer.Argument(help="Trained run, images (with --prompts), or GenEval results (.jsonl).", metavar="PATH")
    ],
    prompts: Annotated[Path | None, typer.Option(help="Prompts of a folder of images: .jsonl or .txt.")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics for images, as in geneval,distance.", show_default="all that apply, or the detectors"
        ),
    ] = None,
    images_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Images that every prompt has.", show_default="1")
    ] = None,
    foundation: Annotated[
        str | None,
        typer.Option(help="Foundation whose judge and evaluators score images.", show_default="scenes-nano"),
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of real images; default: the world's own.")] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(help="GenEval by a detector, as in 'mask2former source=DIR colours=DIR'; repeatable."),
    ] = None,
    geneval_results: Annotated[
        Path | None,
        typer.Option(help="Also write the detector's decisions to this file, as GenEval does.", metavar="FILE.jsonl"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the scores to this JSON file.")] = None,
    as_json: Json = False,
) -> None:
    """Score a trained run again, or a folder of images (PNG, JPEG, WebP) that may come from anywhere.

    A results file of GenEval, ours or the official evaluator's, is summed up as the official script does.
    """
    with user_errors():
        if prompts is None:
            for_images = (metrics, images_per_prompt, foundation, reference, geneval_results, out, detector or None)
            if any(value is not None for value in for_images):
                raise ValueError("a run is scored by its own protocol; the options are for images, with --prompts FILE")
            if path.suffix == ".jsonl":
                from unimm.evaluation.geneval.files import format_summary, read_results, summarise

                summary = summarise(read_results(path))
                if as_json:
                    print_json(summary._asdict())
                else:
                    typer.echo(format_summary(summary, path.name), nl=False)
                return
            from unimm.report import page
            from unimm.runs import stages

            result = stages.score(path)
            if as_json:
                page.write(path)
                print_json([row.model_dump() for row in result.scores])
            else:
                _present(result, path)
            return
        from unimm.evaluation.folder import score_folder
        from unimm.evaluation.suite import NOT_SCORED, choose
        from unimm.files import write_json
        from unimm.foundation.folder import Foundation
        from unimm.report.page import print_scores

        names = None if metrics is None else [name.strip() for name in metrics.split(",")]
        source = Foundation(foundation or "scenes-nano")
        judges = [choose(text) for text in detector or []]
        scores = score_folder(path, prompts, names, source, images_per_prompt or 1, reference, judges, geneval_results)
        rows = [row._asdict() for row in scores]
        if as_json:
            print_json(rows)
        else:
            print_scores([row for row in scores if NOT_SCORED not in row.protocol])
        if out is not None:
            write_json(out, rows)
        refused = [row for row in scores if NOT_SCORED in row.protocol]
        for row in refused:
            typer.echo(f"not scored: {row.name}: {row.protocol[NOT_SCORED]}", err=True)
        if refused and (names is not None or judges):  # what was asked for by name
            raise typer.Exit(MISTAKE)


def _default_folder(config: RunConfig) -> Path:
    """Where a run goes that was given no folder; ValueError where its name is no folder's."""
    if not re.fullmatch(r"[\w.-]+", config.name):
        raise ValueError(
            f"name: {config.name!r} is the name of the run's folder too, and needs letters, digits, _ . - only; "
            "or give --out"
        )
    return Path("experiments/runs") / config.profile / f"{config.name}-seed{config.seed}"


def _present(result: Result, folder: Path) -> None:
    """Write the page and print the table."""
    from unimm.report import page
    from unimm.report.page import print_summary

    print_summary(result, page.write(folder))


@app.command()
def report(
    path: Annotated[
        Path | None, typer.Argument(help="Folder of a run, of a study or of a tuning.", metavar="FOLDER")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two study folders to set side by side.", metavar="A B")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison.", show_default="reports/A-and-B")] = None,
) -> None:
    """Write the page of a run, a study or a tuning, or set two studies side by side."""
    with user_errors():
        if (path is None) == (compare is None):
            raise ValueError("give the folder of a run or of a study, or --compare A B")
        if compare is not None:
            from unimm.report.study import compare as study_compare

            first, second = compare
            folder = out or Path("reports") / f"{first.name}-and-{second.name}"
            typer.echo(study_compare.write(first, second, folder))
            return
        assert path is not None
        if out is not None:
            raise ValueError("--out is for --compare; a page is written into its own folder")
        from unimm.report import pages

        typer.echo(pages.write(path))


@app.command("compare")
def compare_runs(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs; the first is the base.", metavar="RUN RUN...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page.", show_default="experiments/runs/compare/A-and-B")
    ] = None,
) -> None:
    """Set runs side by side: scores with paired differences, settings, the same prompts' images, cost."""
    with user_errors():
        from unimm.report import side_by_side

        found = side_by_side.compare(runs)
        side_by_side.show(found)
        folder = out or Path("experiments/runs/compare") / found.slug
        typer.echo(f"Page: {side_by_side.write(found, folder)}")


app.command(cls=SeedsCommand)(sample)
app.command()(export)
app.command()(plan)
app.command()(judge)
app.command()(view)
app.command("check-component")(check_component)


@foundation.command("build")
def foundation_build(
    name: Annotated[str, typer.Argument(help="Name of the foundation, such as scenes-nano.")],
    profile: Annotated[str, typer.Option(help="Size of everything: tiny, nano, nano-2 or small.")],
    out: Annotated[Path | None, typer.Option(help="Folder that will hold OUT/NAME.", show_default="the cache")] = None,
    part: Annotated[list[str] | None, typer.Option(help="Build only this part; repeatable.")] = None,
    draw: Annotated[int, typer.Option(help="Which draw of its seeds; others than 0 get other parts.", min=0)] = 0,
) -> None:
    """Train the pretrained parts from nothing."""
    with user_errors():
        from unimm.foundation.card import built
        from unimm.pretraining import build

        build.build(profile, (out or built()) / name, tuple(part or ()), draw=draw)


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
def list_kind(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="encoders, objectives, ...; scores, which claims name; targets, a table; all kinds without one.",
            show_default=False,
            autocompletion=completion.kinds,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="One of them, to see its settings.", autocompletion=completion.names)
    ] = None,
    as_json: Json = False,
) -> None:
    """List what there is: kinds, the components of one, the settings of one of them; scores, or targets."""
    with user_errors():
        from unimm import listing

        if kind == listing.TARGETS and name is None:
            from unimm.planning import targets

            if as_json:
                print_json([target.facts() for target in targets.targets()])
            else:
                typer.echo(targets.page(), nl=False)
            return
        if kind is None:
            found, lines = listing.kinds(), listing.component_lines
        elif kind == listing.SCORES and name is None:
            found, lines = listing.scores(), listing.score_lines
        elif name is None:
            found, lines = listing.components(kind), listing.component_lines
        else:
            found, lines = [listing.component(kind, name)], listing.detail_lines
        if as_json:
            print_json(found if name is None else found[0])
        else:
            typer.echo("\n".join(lines(found)))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Arm files.", metavar="FILES...", autocompletion=completion.arms)],
    as_json: Json = False,
) -> None:
    """Validate arm files without running them."""
    from unimm.config import ConfigError, load

    rows: list[dict[str, object]] = []
    for file in files:
        row: dict[str, object] = {"file": str(file), "ok": True, "name": None, "steps": None, "error": None}
        try:
            config = load(file)
        except ConfigError as error:
            rows.append(row | {"ok": False, "error": str(error)})
        else:
            rows.append(row | {"name": config.name, "steps": config.training.steps})
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        if row["ok"]:
            typer.echo(f"ok     {row['file']} ({row['name']}: {row['steps']} steps)")
        else:
            typer.echo(f"error: {row['error']}", err=True)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(2)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show versions, machine, disk, caches and whether the shipped foundations are whole."""
    with user_errors():
        from unimm import doctor as checks

        if as_json:
            print_json([{"name": name, "value": value} for name, value in checks.report()])
            return
        for name, value in checks.report():
            typer.echo(f"{name:<16}{value}")


@app.command()
def clean(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs or studies.", metavar="[FOLDERS]...")
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Also what unimm keeps to save time.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Show what finished runs and the cache could do without, and delete it if you say so.

    Of a run goes its last.ckpt, which only --extend needs: it can still be scored, sampled from and exported.
    """
    with user_errors():
        from unimm.cleaning import delete, in_cache, leftovers, mib

        if not (folders or cache):
            raise ValueError("give folders of runs or studies whose leftovers should go, or --cache")
        found = [path for folder in folders or () for path in leftovers(folder)] + (in_cache() if cache else [])
        for path in found:
            typer.echo(f"{mib([path]):>14}  {path}")
        typer.echo(f"{mib(found):>14}  in all")
        if found and (yes or typer.confirm("Delete them?")):
            delete(found)
