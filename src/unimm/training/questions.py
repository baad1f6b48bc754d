"""Rows that ask about images in joint training: about the scenes, about the run's own images, or both.

A row is found by its position in the stream of understanding, so that a resumed run asks what it would have asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unimm.backbones.templates import answer_ids, question_ids
from unimm.data.captions import choose
from unimm.data.order import stream_indices
from unimm.data.source import Visit
from unimm.data.visits import Visits
from unimm.foundation.language import Row, row
from unimm.noise import NoiseSource

DESCRIBE = "describe the image ."
DESCRIBED = 5
SEED_OFFSET = 1_000_003


class Questions(Protocol):
    """Rows about images, by their position in the stream of understanding."""

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        """Rows and the image tokens ``[n, d]`` of each; ``later`` are the ranges that will be asked for next."""


class SceneQuestions:
    """Rows about the scenes, all in memory: row r is about image r modulo the number of images."""

    def __init__(self, seed: int, rows: list[Row], image_tokens: Float[Tensor, "m k c"]) -> None:
        self.seed, self.rows, self.image_tokens = seed, rows, image_tokens

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        indices = stream_indices(self.seed + SEED_OFFSET, begin, end, len(self.rows))
        tokens = self.image_tokens[indices % len(self.image_tokens)]
        return [self.rows[i] for i in indices.tolist()], list(tokens)


class SourceQuestions:
    """Rows about the images of the run's own source: its questions, and every fifth a description.

    ``row_of(visit, described)`` words the row of a visit.
    """

    def __init__(self, visits: Visits, row_of: Callable[[Visit, bool], Row]) -> None:
        self.visits, self.row_of = visits, row_of

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        if begin == end:
            return [], []
        visits = self.visits.between(begin, end, later)
        rows = [self.row_of(visit, visit.position % DESCRIBED == DESCRIBED - 1) for visit in visits]
        return rows, list(self.visits.finish(visits))


class Descriptions:
    """Questions about scenes, and as every fifth row a description of an image of the run's own source."""

    def __init__(self, scenes: SceneQuestions, visits: Visits, row_of: Callable[[Visit, bool], Row]) -> None:
        self.scenes = scenes
        self.described = SourceQuestions(visits, lambda visit, described: row_of(visit, True))

    def between(self, begin: int, end: int, later: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Tensor]]:
        rows, tokens = self.scenes.between(begin - begin // DESCRIBED, end - end // DESCRIBED, ())
        next_described = [(first // DESCRIBED, after // DESCRIBED) for first, after in later]
        more_rows, more_tokens = self.described.between(begin // DESCRIBED, end // DESCRIBED, next_described)
        return rows + more_rows, [*tokens, *(shown.to(self.scenes.image_tokens.device) for shown in more_tokens)]


def wording(tokenizer: PreTrainedTokenizerFast, seed: int, image_tokens: int) -> Callable[[Visit, bool], Row]:
    """Words the row of a visit: one of the image's questions, or its description where there is none or it is asked."""

    def row_of(visit: Visit, described: bool) -> Row:
        questions = visit.texts.questions
        if questions and not described:
            draw = float(NoiseSource(seed, "question").uniform([visit.position]))
            question, answer = questions[int(draw * len(questions))]
        else:
            question, answer = DESCRIBE, choose(visit.texts, True, seed, visit.position).text
        return row(question_ids(tokenizer, question, image_tokens), answer_ids(tokenizer, answer))

    return row_of
