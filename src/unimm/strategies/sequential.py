"""Sequential (late fusion): the backbone learned to understand first and stays frozen; only queries and head train."""

from __future__ import annotations

from unimm.component_config import ComponentConfig
from unimm.components import Mix, Strategy


class Sequential(Strategy):
    """Frozen backbone, generation only."""

    phrase = "the backbone stays frozen"

    class Config(ComponentConfig):
        """Nothing to set."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def start(self) -> str:
        return "understanding"

    def mix(self) -> Mix:
        return Mix(train_backbone=False, generation_weight=1.0, understanding_weight=0.0)


class SequentialUnfrozen(Sequential):
    """The same without freezing: what generation training alone makes the backbone forget."""

    phrase = "the backbone trains on generation alone"

    def mix(self) -> Mix:
        return Mix(train_backbone=True, generation_weight=1.0, understanding_weight=0.0)
