"""Trackers: the rows of ``metrics.jsonl`` shown elsewhere while they are made, by Lightning's loggers or their own.

A tracker holds what the log holds. When training begins or goes on it is given all rows that count, and starts again
with those: so it equals ``metrics.jsonl`` after a kill too, which loses what a writer had not flushed yet and leaves
rows past the checkpoint. None of them changes what is trained, and which ones watch is no part of a configuration:
`unimm run --track tensorboard`, or ``UNIMM_TRACK="tensorboard wandb"`` for all runs of a study. Nothing is sent
anywhere. The packages are extras, imported when asked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unimm.registry import nearest

if TYPE_CHECKING:
    from unimm.schema import RunConfig

PROJECT = "unimm"
Row = Mapping[str, Any]


class Tracker(ABC):
    """One tracker of one run; ``package`` is what it needs, and the name of the extra that brings it."""

    package: ClassVar[str]

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder

    @property
    def run_name(self) -> str:
        """What the run is called where many are listed."""
        return f"{self.config.name}-seed{self.config.seed}"

    @property
    def run_id(self) -> str:
        """The same for the same folder, so that a run that goes on replaces what it showed before."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]

    @abstractmethod
    def begin(self, rows: Sequence[Row]) -> None:
        """Hold these rows, and nothing else of this run."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Hold one more row."""

    @abstractmethod
    def end(self) -> None:
        """Write out what is held."""


class TensorBoard(Tracker):
    """Event files in the run's folder ``tensorboard/``: `tensorboard --logdir experiments/runs` shows all runs."""

    package = "tensorboard"

    def begin(self, rows: Sequence[Row]) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        shutil.rmtree(self.folder / self.package, ignore_errors=True)
        self.logger = TensorBoardLogger(
            self.folder, name="", version=self.package, default_hp_metric=False, flush_secs=5
        )
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        self.logger.log_metrics(_values(row), row["step"])

    def end(self) -> None:
        self.logger.finalize("success")


class WeightsAndBiases(Tracker):
    """An offline run in the run's folder ``wandb/``: `wandb sync` takes it to a server, where one is wanted."""

    package = "wandb"

    def begin(self, rows: Sequence[Row]) -> None:
        from lightning.pytorch.loggers import WandbLogger

        shutil.rmtree(self.folder / self.package, ignore_errors=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        settings = self.config.model_dump(mode="json")
        self.logger = WandbLogger(
            self.run_name, self.folder, id=self.run_id, offline=True, project=PROJECT, config=settings
        )
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        self.logger.log_metrics(_values(row), row["step"])

    def end(self) -> None:
        self.logger.experiment.finish()


class Trackio(Tracker):
    """A run in trackio's own database ($TRACKIO_DIR): `trackio show --project unimm` shows all runs."""

    package = "trackio"

    def begin(self, rows: Sequence[Row]) -> None:
        import trackio

        name = f"{self.run_name}-{self.run_id}"  # all runs of this machine share a database
        with redirect_stdout(sys.stderr):  # it greets there
            with suppress(ValueError):  # there is no such project yet
                for earlier in trackio.Api().runs(PROJECT):
                    if earlier.name == name:
                        earlier.delete()
            settings = self.config.model_dump(mode="json")
            quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
            self.run = trackio.init(PROJECT, name, config=settings, resume="never", **quiet)
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        self.run.log(_values(row), step=row["step"])

    def end(self) -> None:
        with redirect_stdout(sys.stderr):
            self.run.finish()


# Name on the command line -> class.
TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def chosen(names: Sequence[str]) -> list[type[Tracker]]:
    """The trackers of these names, each once.

    Raises:
        ValueError: there is none of a name, or its package is not installed; says what to do.
    """
    for name in names:
        if name not in TRACKERS:
            guess = nearest(name, TRACKERS)
            hint = f"did you mean {guess!r}? " if guess else ""
            raise ValueError(f"--track: no tracker {name!r}; {hint}choices: {', '.join(TRACKERS)}")
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            raise ValueError(f"--track {name} needs a package: pip install 'unimm[{name}]'")
    return [TRACKERS[name] for name in dict.fromkeys(names)]


def _values(row: Row) -> dict[str, float]:
    """The numbers of a row but its step, which every tracker takes by itself."""
    return {key: value for key, value in row.items() if key != "step" and value is not None}
