"""Joint (early fusion): everything trains on understanding and generation data in every step, with declared weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unimm.component_config import ComponentConfig
from unimm.components import Mix, Strategy


class Joint(Strategy):
    """Both losses in every step."""

    phrase = "the backbone trains jointly on understanding"

    class Config(ComponentConfig):
        """``start``: the language-only backbone (the paper's comparison) or the one that already understands.

        ``understanding_weight``, ``generation_weight``: of each loss in their sum.
        ``understanding_samples``: questions of the whole run, null for as many as the foundation's understanding stage
        saw, which is what the sequential strategy's backbone has seen.
        """

        understanding_weight: float = Field(1.0, gt=0)
        generation_weight: float = Field(1.0, gt=0)
        understanding_samples: int | None = Field(None, ge=1)
        start: Literal["language", "understanding"] = "language"

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def start(self) -> str:
        return self.config.start

    def mix(self) -> Mix:
        return Mix(
            train_backbone=True,
            generation_weight=self.config.generation_weight,
            understanding_weight=self.config.understanding_weight,
            understanding_samples=self.config.understanding_samples,
        )
