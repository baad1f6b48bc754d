"""What verbs of `unimm study` are given: a study's file or folder, where its results go, and what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimm import completion

File = Annotated[Path, typer.Argument(help="Study file.", metavar="FILE.yaml", autocompletion=completion.studies)]
StudyFolder = Annotated[Path, typer.Argument(help="Folder of a study.", metavar="FOLDER")]
Either = Annotated[
    Path,
    typer.Argument(help="Folder of a study, or its file.", metavar="FOLDER_OR_FILE", autocompletion=completion.studies),
]
Workers = Annotated[int, typer.Option(min=1, help="How many runs at once.")]
Ranks = Annotated[int, typer.Option(min=1, help="Devices that train each run together, on one machine.")]
Engine = Annotated[str, typer.Option(help="What starts the workers: local, slurm or ray.")]
Storage = Annotated[
    str | None,
    typer.Option(help="Database URL of the queue; needed by several machines.", show_default="SQLite in the folder"),
]
Out = Annotated[Path | None, typer.Option(help="Folder of the study.", show_default="experiments/runs/studies/NAME")]
Collect = Annotated[
    Path | None,
    typer.Option(help="Where finished results are kept to be committed, and taken from.", show_default="reports/NAME"),
]


def folder_of(path: Path) -> Path:
    """The study's folder: the path itself, or the default one of a study file."""
    from unimm.study.layout import STUDIES

    return STUDIES / path.stem if is_file(path) else path


def is_file(path: Path) -> bool:
    """Whether a study is meant by its file, and not by its folder."""
    return path.suffix == ".yaml"


def reports_of(name: str) -> Path:
    """Where the results of the study of this name are kept to be committed."""
    from unimm.study.layout import REPORTS

    return REPORTS / name
