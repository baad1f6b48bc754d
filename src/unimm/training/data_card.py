"""Keeps the data card of a run: counts every step's visits, and writes ``data_card.json`` when training stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

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
