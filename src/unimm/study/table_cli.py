"""`unimm study import` and `export`: claims decided on a table of scores, and a study as such a table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unimm.study.arguments import Either, folder_of, is_file, reports_of
from unimm.user_errors import user_errors


class PairBy(StrEnum):
    """What two arms share that are compared pair by pair."""

    SEED = "seed"


def import_scores(
    scores: Annotated[
        Path, typer.Argument(help="Table of scores (.csv, .parquet), or folder of JSON logs.", metavar="SCORES")
    ],
    claims: Annotated[Path, typer.Option(help="Claims file, as of a study.", metavar="CLAIMS.yaml")],
    out: Annotated[Path, typer.Option(help="New or empty folder of the study.", metavar="FOLDER")],
    pair_by: Annotated[
        PairBy | None, typer.Option(help="Compare all arms seed by seed.", show_default="as each claim says")
    ] = None,
    setting: Annotated[
        str | None,
        typer.Option(help="Where the numbers hold: data, sizes.", show_default="runs that unimm has not seen"),
    ] = None,
) -> None:
    """Decide claims on scores of runs made elsewhere; claims and pairing are fixed before the scores are read."""
    with user_errors():
        from unimm.report.imported.page import SETTING, import_table, remarks
        from unimm.report.study.answers import told

        page, study, answers = import_table(scores, claims, out, pair_by, setting or SETTING)
        for line in remarks(study):
            typer.echo(line, err=True)
        typer.echo(told(answers))
        typer.echo(page)


def export_scores(
    path: Either,
    folder: Annotated[Path, typer.Argument(help="Folder for scores.csv and claims.yaml.", metavar="DIR")],
) -> None:
    """Write a study's scores as a table and its claims as a file, which `import` and other tools read."""
    with user_errors():
        from unimm.report.imported.export import export_study

        source = folder_of(path)
        if is_file(path) and reports_of(path.stem).is_dir():
            source = reports_of(path.stem)
        scores, claims = export_study(source, folder)
        typer.echo(f"{scores}\n{claims}")
