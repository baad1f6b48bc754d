"""What each step of a run trains on: prompts, latents and noise keys, and rows that ask about images.

Every method is a function of the step alone, so that a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from unimm.data.captions import Caption, choose
from unimm.data.source import Visit
from unimm.data.visits import Visits
from unimm.foundation.language import Row
from unimm.noise import NoiseSource
from unimm.training.questions import Questions

AHEAD = 2
PROMPTS_KEPT = 1 << 18


class Seen(NamedTuple):
    """What a generation step visited, for the data card: visits and the caption of each."""

    visits: list[Visit]
    captions: list[Caption]


class StepData:
    """Training material and the order in which a run visits it.

    ``questions_by_step[s]`` is the position in the stream of understanding at which step s begins.
    """

    def __init__(
        self,
        seed: int,
        batch_size: int,
        visits: Visits,
        prompt_ids: Callable[[str], list[int]],
        long_share: float,
        questions: Questions | None,
        questions_by_step: Sequence[int],
    ) -> None:
        self.seed, self.batch_size = seed, batch_size
        self.visits, self.long_share = visits, long_share
        self.questions, self.questions_by_step = questions, questions_by_step
        self._prompt_ids = lru_cache(PROMPTS_KEPT)(prompt_ids)
        self.seen = Seen([], [])

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return len(self.questions_by_step) - 1

    def generation(self, step: int) -> tuple[list[list[int]], Tensor, list[int]]:
        """Prompt ids, latents and noise keys of a step; its captions are all long or all short where images have
        both kinds."""
        begin, end = self._positions(step)
        later = range(step + 1, min(step + 1 + AHEAD, self.steps))
        visits = self.visits.between(begin, end, [self._positions(number) for number in later])
        draw = float(NoiseSource(self.seed, "caption kind", step).uniform([0]))
        captions = [choose(visit.texts, draw < self.long_share, self.seed, visit.position) for visit in visits]
        self.seen = Seen(visits, captions)
        prompts = [self._prompt_ids(caption.text) for caption in captions]
        return prompts, self.visits.finish(visits), list(range(begin, end))

    def _positions(self, step: int) -> tuple[int, int]:
        return step * self.batch_size, (step + 1) * self.batch_size

    def understanding(self, step: int) -> tuple[list[Row], Tensor | None]:
        """Question rows and image tokens of a step: the next few of the stream, as many as the step's share."""
        assert self.questions is not None
        begin, end, *later = self.questions_by_step[step : step + 2 + AHEAD]
        rows, tokens = self.questions.between(begin, end, later)
        return rows, torch.stack(tokens) if tokens else None
