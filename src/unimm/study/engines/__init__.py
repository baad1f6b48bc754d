"""Engines start a study's workers and wait for them; a worker is the same command everywhere.

An engine is a module with `start(command, count, folder, ranks)`: run `command` `count` times at once, each with what
so many ranks of a run need, leave what it writes itself in `folder`, return when all have ended.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from unimm.registry import nearest
from unimm.study.processes import StudyError

Start = Callable[[Sequence[str], int, Path, int], None]

# Engine -> its module.
ENGINES = {
    "local": "unimm.study.engines.local",
    "slurm": "unimm.study.engines.slurm",
    "ray": "unimm.study.engines.ray_jobs",
}


def engine(name: str) -> Start:
    """The engine called `name`; StudyError with the nearest name, or with the extra to install."""
    if name not in ENGINES:
        guess = nearest(name, ENGINES)
        hint = f"did you mean {guess!r}? " if guess else ""
        raise StudyError(f"no engine {name!r}; {hint}choices: {', '.join(ENGINES)}")
    try:
        module = importlib.import_module(ENGINES[name])
    except ModuleNotFoundError as error:
        raise StudyError(f"engine {name} needs {error.name}: pip install 'unimm[{name}]'") from error
    start: Start = module.start
    return start


def worker_command(folder: Path, reports: Path, storage: str | None, ranks: int = 1) -> list[str]:
    """The command of one worker, whose runs have so many ranks."""
    options = ["--collect", str(reports.resolve()), *(["--storage", storage] if storage else [])]
    options += ["--ranks", str(ranks)] if ranks > 1 else []
    return [sys.executable, "-m", "unimm", "study", "work", str(folder.resolve()), *options]
