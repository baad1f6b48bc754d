"""What each step of a run trains on: prompts, latents and noise keys, and rows that ask about images.

A step's batch is a function of the step alone, so that a resumed run goes on as if it had never stopped. It is cut into
equal shares, one for every rank and micro-batch; what a sample draws goes by its position, so no cut changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
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


class Share(NamedTuple):
    """One of ``parts`` equal parts of every step's batch, whole by default."""

    part: int = 0
    parts: int = 1

    def of(self, begin: int, end: int) -> tuple[int, int]:
        """Where this part of a range begins and ends; parts differ by one where they cannot be equal."""
        first, after = (begin + (end - begin) * number // self.parts for number in (self.part, self.part + 1))
        return first, after


def shares(rank: int, ranks: int, micro_batches: int) -> tuple[Share, ...]:
    """A rank's shares of every step, which lie side by side: one for each of its micro-batches."""
    return tuple(Share(rank * micro_batches + number, ranks * micro_batches) for number in range(micro_batches))


class Seen(NamedTuple):
    """What a share of a generation step visited, for the data card: visits and the caption of each."""

    visits: list[Visit]
    captions: list[Caption]


class StepData:
    """Training material and the order in which a run visits it.

    ``questions_by_step[s]`` is the position in the stream of understanding at which step s begins; ``shares`` are those
    of every step that this process trains on, one after the other.
    """

    shares: tuple[Share, ...] = shares(0, 1, 1)

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

    @property
    def fewest_questions(self) -> int:
        """Rows about images in the step that has the fewest."""
        return min(end - begin for begin, end in pairwise(self.questions_by_step))

    def generation(self, step: int, number: int = 0) -> tuple[list[list[int]], Tensor, list[int]]:
        """Prompt ids, latents and noise keys of share ``number`` of a step; a step's captions are all long or all
        short where images have both kinds."""
        begin, end = self._positions(step, number)
        visits = self.visits.between(begin, end, [self._positions(*later) for later in self._after(step, number)])
        draw = float(NoiseSource(self.seed, "caption kind", step).uniform([0]))
        captions = [choose(visit.texts, draw < self.long_share, self.seed, visit.position) for visit in visits]
        self.seen = Seen(visits, captions)
        prompts = [self._prompt_ids(caption.text) for caption in captions]
        return prompts, self.visits.finish(visits), list(range(begin, end))

    def _positions(self, step: int, number: int) -> tuple[int, int]:
        return self.shares[number].of(step * self.batch_size, (step + 1) * self.batch_size)

    def _after(self, step: int, number: int) -> list[tuple[int, int]]:
        """(step, number) of the next shares that this process trains on."""
        count = len(self.shares)
        following = range(step * count + number + 1, step * count + number + 1 + AHEAD)
        return [divmod(share, count) for share in following if share < self.steps * count]

    def understanding(self, step: int, number: int = 0) -> tuple[list[Row], Tensor | None]:
        """Question rows and image tokens of share ``number`` of a step: of the next few of the stream, as many as the
        step's share of it."""
        assert self.questions is not None
        begin, end = self._questions(step, number)
        later = [self._questions(*share) for share in self._after(step, number)]
        rows, tokens = self.questions.between(begin, end, later)
        return rows, torch.stack(tokens) if tokens else None

    def _questions(self, step: int, number: int) -> tuple[int, int]:
        begin, end = self.questions_by_step[step : step + 2]
        return self.shares[number].of(begin, end)
