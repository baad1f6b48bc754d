"""Claim a run's folder: an empty one, or one that holds the same run, whichever unimm stored its configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

from unimm.config import ConfigError, dump
from unimm.files import write_atomic
from unimm.schema import RunConfig
from unimm.stored_config import current, differing, shown
from unimm.strict_yaml import read_yaml

EXECUTION = frozenset({"training.gradient_accumulation_steps", "training.distributed"})


def prepare(config: RunConfig, out: Path, resume: bool, overwrite: bool) -> None:
    """Claim the output folder; refuses one that holds another run or, without ``resume``, this one."""
    settings = out / "config.yaml"
    if overwrite and settings.exists():
        shutil.rmtree(out)
    if out.exists() and any(out.iterdir()):
        if not settings.exists():
            raise FileExistsError(f"{out} is not empty and holds no run; choose another --out")
        reason = _differs(config, settings)
        if reason:
            advice = "choose another --out or --overwrite it"
            raise FileExistsError(f"{out} holds a run of another configuration; {advice}: {reason}")
        if not resume:
            raise FileExistsError(f"{out} already holds this run; --resume continues it, --overwrite starts again")
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(settings, dump(config))


def _differs(config: RunConfig, stored: Path) -> str:
    """In which keys the stored configuration does not mean ``config``, or why it cannot be read; empty if it does.

    How ranks share a step is not part of what a run is: it may resume on fewer of them.
    """
    try:
        found = current(read_yaml(stored), stored)
    except ConfigError as error:
        return str(error)
    changes = differing(found, config.model_dump(mode="json"))
    told = (f"{c.key} is {shown(c.before)} there and {shown(c.after)} now" for c in changes if c.key not in EXECUTION)
    return "; ".join(told)
