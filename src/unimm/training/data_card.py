"""Keeps the data card of a run: counts every step's visits, and writes ``data_card.json`` when training stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
from tqdm import tqdm

from unimm.data.card import VisitLog
from unimm.files import write_json
from unimm.training.step_data import StepData

FILE = "data_card.json"


class DataCard(L.Callback):
    """Stands before `Checkpoint` in the list of callbacks, so that a step's visits are counted in its checkpoint."""

    def __init__(self, path: Path, data: StepData) -> None:
        self.path, self.data = path, data
        self.visited = VisitLog()
        self.waited = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self.visited.add(*self.data.seen)
        if trainer.global_step == trainer.max_steps or trainer.should_stop:
            self.write()

    def write(self) -> None:
        """Write the card as it stands."""
        visits = self.data.visits
        write_json(self.path, self.visited.card(visits.source, visits.latents.kind))
        if self.visited.unusable:
            tqdm.write(f"{len(self.visited.unusable)} samples could not be used and were replaced: see {self.path}")

    @staticmethod
    def summary(path: Path) -> dict[str, Any] | None:
        """The ``data`` of result.json: a card without its lists; None for a run that ended before there were cards."""
        if not path.exists():
            return None
        card = json.loads(path.read_text())
        counts = {"unusable": card["unusable"]["count"], "replaced": card["replaced"]["count"]}
        return {**{key: card[key] for key in ("source", "latents", "resumes")}, **card["visits"], **counts}

    @property
    def seconds_waited(self) -> float:
        """Seconds in which training waited for images, over all stretches of the run."""
        return self.waited + self.data.visits.waited

    def state_dict(self) -> dict[str, Any]:
        journal = self.data.visits.source.journal()
        return {"log": self.visited.state(), "journal": journal, "waited": self.seconds_waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.visited.restore(state_dict["log"])
        self.data.visits.source.restore(state_dict["journal"])
        self.waited = state_dict["waited"]
