"""Finished runs as pandas frames, for notebooks: a row a run, and a row an item. Imports no torch.

Both read a run's folder, a study's, or any folder with runs below it. A run that trained in stages is one run: the
folders of its stages are not read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from unimm.runs.reading import finished_runs
from unimm.runs.record import IMAGES, ITEMS, Items, Result, read_record


def load_runs(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """One row a run: which it is, what it consumed and cost, and every score in a column of its name.

    Columns: ``folder`` (relative to the given one), ``arm``, ``seed``, ``profile``, ``generation_samples``,
    ``understanding_samples``, ``steps``, ``trainable_parameters``, ``train_seconds``, ``score_seconds``,
    ``train_flops``, then the scores. What a run has not is NaN.

    Raises:
        ValueError: there is no finished run, or a ``result.json`` cannot be read.
    """
    return pd.DataFrame([_row(result, name) for name, _, result in finished_runs(Path(folder))])


def load_items(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """One row an item (an image, or a question) and score that applies to it, of every run that kept them.

    Columns: ``folder``, ``arm``, ``seed``, ``score``, ``item`` (its number under that score), ``prompt`` and ``tag``
    (None for questions), ``value``.

    Raises:
        ValueError: there is no finished run, none has an ``items.json``, or a file cannot be read.
    """
    frames = [
        _items(path / ITEMS, {"folder": name, "arm": result.arm, "seed": result.seed})
        for name, path, result in finished_runs(Path(folder))
        if (path / ITEMS).is_file()
    ]
    if not frames:
        raise ValueError(f"no run in {folder} has {ITEMS}: score it again with `unimm score RUN_DIR`")
    return pd.concat(frames, ignore_index=True)


def _row(result: Result, name: str) -> dict[str, Any]:
    return {
        "folder": name,
        "arm": result.arm,
        "seed": result.seed,
        "profile": result.profile,
        "generation_samples": result.counts.generation_samples,
        "understanding_samples": result.counts.understanding_samples,
        "steps": result.counts.steps,
        "trainable_parameters": result.parameters.trainable,
        "train_seconds": result.speed.train_seconds,
        "score_seconds": result.speed.score_seconds,
        "train_flops": None if result.efficiency is None else result.efficiency.train_flops,
        **{score.name: score.value for score in result.scores},
    }


def _items(path: Path, run: dict[str, Any]) -> pd.DataFrame:
    items = read_record(path, Items)
    rows = [
        (score, number, *_prompt(items, score, number), value)
        for score, values in items.scores.items()
        for number, value in enumerate(values)
        if value is not None
    ]
    frame = pd.DataFrame(rows, columns=["score", "item", "prompt", "tag", "value"])
    for place, (column, value) in enumerate(run.items()):
        frame.insert(place, column, value)
    return frame


def _prompt(items: Items, score: str, number: int) -> tuple[str | None, str | None]:
    """The prompt and task of an item, if it is an image of one."""
    if items.unit(score) != IMAGES or number >= len(items.prompts):
        return None, None
    return items.prompts[number].prompt, items.prompts[number].tag
