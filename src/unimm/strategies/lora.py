"""Low-rank adaptation (LoRA, arXiv 2106.09685): the backbone's own weights stay, and adapters beside them train.

A layer's ``W x`` becomes ``W x + alpha / rank B A x`` with B zero at first, so that a run starts from the backbone as
it is. Between frozen and whole: generation may change what the backbone says, within a rank that limits what it can
forget. With ``understanding_weight`` above 0 it also trains on questions, as `joint` does. Needs the extra ``[lora]``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unimm.components import Lora, Mix, Strategy


class LowRank(Strategy):
    """Low-rank adapters in the backbone train with queries and head, on generation or on both streams."""

    phrase = "the backbone trains through low-rank adapters"

    class Config(Lora):
        """``start``: the backbone that is adapted; ``understanding_weight``, ``generation_weight``: of each loss.

        ``understanding_samples``: questions of the whole run, null for as many as the foundation's understanding stage
        saw.
        """

        understanding_weight: float = Field(0.0, ge=0)
        generation_weight: float = Field(1.0, gt=0)
        understanding_samples: int | None = Field(None, ge=1)
        start: Literal["language", "understanding"] = "understanding"

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
            adapters=Lora(**self.config.model_dump(include=set(Lora.model_fields))),
        )
