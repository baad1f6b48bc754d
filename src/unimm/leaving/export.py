"""`unimm export`: a finished run as a model that loads without the run, its foundation or a hub."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from unimm.files import write_atomic
from unimm.leaving.card import model_card
from unimm.leaving.finished import CONFIG, RESULT, open_run, trained_arm
from unimm.leaving.manifest import CARD, write_manifest
from unimm.leaving.parts import write_parts


def export_run(run_dir: Path, folder: Path) -> Path:
    """Write the run's model into ``folder``, whole or not at all; returns the path of its card.

    Raises:
        ValueError: the run is unfinished or not what was scored, or its decoder cannot be exported.
        FileExistsError: ``folder`` holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: export into a new or empty folder")
    run = open_run(run_dir)
    pipeline = trained_arm(run).pipeline()
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir(parents=True)
    try:
        write_parts(pipeline, run.config, unfinished)
        for name in (CONFIG, RESULT):
            shutil.copyfile(run_dir / name, unfinished / name)
        write_atomic(unfinished / CARD, model_card(run))
        write_manifest(unfinished)
        _as_readable_as(unfinished / CARD, unfinished)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / CARD


def _as_readable_as(example: Path, folder: Path) -> None:
    """Give every file the mode of ``example``: the libraries write weights that only their owner can read."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(example.stat().st_mode)
