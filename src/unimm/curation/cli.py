"""`unimm data`: pack, index, inspect and audit training data. Verbs import what they need when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm.json_output import Json, print_json
from unimm.user_errors import user_errors

app = typer.Typer(help="The images and captions that runs train on.", no_args_is_help=True)

Set = Annotated[
    Path, typer.Argument(help="Folder of tars, of images with a .jsonl, or of a saved dataset.", metavar="PATH")
]
SourceSettings = Annotated[
    list[str] | None, typer.Argument(help="As `source` has them in a run: caption=text.", metavar="[key=value]...")
]
Report = Annotated[Path | None, typer.Option(help="Also write the report to this JSON file.")]
Count = Annotated[int | None, typer.Option(min=1, help="Look at so many samples, spread evenly.", show_default="all")]


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="Folder for the tars.", metavar="OUT")],
    settings: SourceSettings = None,
    scenes: Annotated[str | None, typer.Option(help="Render this world, as in scenes-nano.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many scenes.", show_default="2000")] = None,
    resolution: Annotated[int | None, typer.Option(min=8, help="Side of rendered scenes.", show_default="64")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the scenes: train, validation or test.", show_default="train")
    ] = None,
    image_format: Annotated[
        str | None, typer.Option("--format", help="Format of scenes: png, jpg or webp.", show_default="png")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Pack the data set in this folder, images byte for byte.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples a tar.")] = 1000,
) -> None:
    """Write WebDataset tars and their index, from scenes or from another data set."""
    with user_errors():
        from unimm.curation import pack as packing
        from unimm.curation.inspection import open_path
        from unimm.data.source import Refused
        from unimm.scenes.world import world

        if (scenes is None) == (source is None):
            raise ValueError("give --scenes WORLD or --from PATH")
        left_out: list[Refused] = []
        if scenes is not None:
            if settings:
                raise ValueError(f"{settings[0]}: settings are for --from; scenes have none")
            total = count or 2000
            samples = packing.scene_samples(
                world(scenes), split or "train", total, resolution or 64, image_format or "png"
            )
        else:
            assert source is not None
            if any(value is not None for value in (count, resolution, split, image_format)):
                raise ValueError(
                    "--count, --resolution, --split and --format are for --scenes; --from takes all as it is"
                )
            opened = open_path(source, settings or ())
            samples, total = packing.source_samples(opened, left_out), len(opened)
        index = packing.pack(samples, out, shard_size, total)
        typer.echo(f"{len(index)} samples in {len(index.shards)} tars in {out}")
        for refused in left_out:
            typer.echo(f"left out {refused.key}: {refused.reason}, {refused.detail}")


@app.command()
def index(
    path: Annotated[Path, typer.Argument(help="Folder of tars.", metavar="PATH")],
    out: Annotated[
        Path | None, typer.Option(help="File for the index (then source.index).", show_default="in the folder")
    ] = None,
) -> None:
    """Write the offset index of tars; of those that it had already, only changed ones are read."""
    with user_errors():
        from unimm.data.tar_index import FILE, build_index, load_index

        file = out or path / FILE
        try:
            known = load_index(file) if file.is_file() else None
        except ValueError:
            known = None
        made = build_index(path, known)
        made.save(file)
        typer.echo(f"{file}: {len(made)} samples in {len(made.shards)} tars, fingerprint {made.fingerprint}")
        for reason, number in made.left_out.items():
            typer.echo(f"left out {number} with {reason}")


@app.command()
def inspect(
    path: Set, settings: SourceSettings = None, count: Count = None, out: Report = None, as_json: Json = False
) -> None:
    """Show counts, formats, sizes, lengths of captions, and what training could not use."""
    with user_errors():
        from unimm.curation.inspection import inspect as look
        from unimm.curation.inspection import lines, open_path
        from unimm.files import write_json

        facts = look(open_path(path, settings or ()), count)
        if as_json:
            print_json(facts)
        else:
            typer.echo("\n".join(lines(facts)))
        if out is not None:
            write_json(out, facts)


@app.command()
def audit(
    path: Set,
    settings: SourceSettings = None,
    against: Annotated[
        Path | None, typer.Option(help="A held-out set whose captions should have no near-duplicate here.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0.5, max=1, help="Similarity of near-duplicates.")] = 0.8,
    count: Count = None,
    out: Report = None,
    as_json: Json = False,
) -> None:
    """Find captions that overlap with GenEval's prompts or templates, and near-duplicates between splits."""
    with user_errors():
        from unimm.curation.audit import audit_duplicates, audit_geneval, captions, lines
        from unimm.curation.inspection import open_path
        from unimm.files import write_json

        source = open_path(path, settings or ())
        rows = captions(source, count)
        report = {"samples": len(source), "captions": len(rows), "geneval": audit_geneval(rows)}
        if against is not None:
            held_out = captions(open_path(against, settings or ()), count)
            report["duplicates"] = audit_duplicates(rows, held_out, threshold)
        if as_json:
            print_json(report)
        else:
            typer.echo("\n".join(lines(report)))
        if out is not None:
            write_json(out, report)
