"""Arms of a study or of a tuning, resolved from their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unimm.config import load
from unimm.study.errors import StudyError
from unimm.study.plan import PlannedArm, config_hash
from unimm.study.schema import StudyArm


def add_arms(
    arms: dict[str, PlannedArm],
    path: Path,
    overrides: Sequence[str],
    added: Iterable[StudyArm],
    question: str | None = None,
) -> list[str]:
    """Put resolved arms under their names into `arms`; returns the names.

    Args:
        arms: what is there already.
        path: the study file, beside which arm files are found.
        overrides: for every arm, below its own.
        added: the arms.
        question: theirs, where several come from one file.

    Raises:
        ValueError: a name is taken or is none for a folder, or an arm is not valid.
    """
    names = []
    for arm in added:
        config = load(path.parent / arm.file, [*overrides, *arm.overrides])
        name = arm.name or config.name
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise StudyError(f"{path}: an arm's name is a folder's too: {name!r} needs letters, digits, _ . - only")
        if name in arms:
            raise StudyError(f"{path}: two arms are called {name!r}; give one of them another `name`")
        resolved: dict[str, Any] = config.model_copy(update={"name": name}).model_dump(mode="json")
        del resolved["seed"]
        if question is not None:
            resolved["question"] = question
        arms[name] = PlannedArm(arm.file, config_hash(resolved), resolved)
        names.append(name)
    return names
