"""Chats that teach the foundation's backbone: requests and questions about captions, questions about images.

How scenes are asked about is their world's (`unimm.scenes.questions`). Where every scene is asked in turn (`by_scene`,
the first edition of the nano foundation), one row in five describes its image and requests are short or long. Where
answers come first (`by_answer`), one row in ten describes, and requests and captions that are read name places too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unimm.backbones.causal_lm import Row, row
from unimm.backbones.wording import answer_ids, generation_ids, question_ids, reading_ids
from unimm.components import Backbone
from unimm.data.scenes import SceneSet
from unimm.scenes.captions import brief_caption
from unimm.scenes.questions import Question, ask_any, by_answer
from unimm.scenes.stream import SceneSample

QUESTION_DRAWS = 3
DESCRIBED = 10
DESCRIBE = "describe the image ."


class ImageRows(NamedTuple):
    """Rows about images, and the number of the image that each is about."""

    rows: list[Row]
    images: Int[Tensor, " rows"]

    def at(self, indices: Int[Tensor, " k"]) -> tuple[list[Row], Int[Tensor, " k"]]:
        """Some of them."""
        return [self.rows[i] for i in indices.tolist()], self.images[indices]


def language_rows(backbone: Backbone, data: SceneSet) -> list[Row]:
    """Every other row asks about a caption; the others are requests to draw, which the answer repeats.

    Repeating is what any pretrained language model can do and a small one has to learn: without it, states after the
    prompt hold its colours but not its shapes, and a frozen backbone has nothing to tell the head.
    """
    tokenizer = backbone.tokenizer
    chats = _answers_first(data) if data.world.questions == "by_answer" else _scene_by_scene(data)
    rows = []
    for caption, question, answer in chats:
        prompt = reading_ids(tokenizer, caption, question) if question else generation_ids(tokenizer, caption)
        rows.append(row(prompt, answer_ids(tokenizer, answer)))
    return rows


class Chat(NamedTuple):
    """A caption with a question about it, or a request to draw it, where there is none; and the answer."""

    caption: str
    question: str
    answer: str


def _scene_by_scene(data: SceneSet) -> Iterator[Chat]:
    """Each scene in turn. A long request is answered by the brief caption of its scene."""
    for i, sample in enumerate(data.samples):
        rng = np.random.default_rng([i, 31])
        if i // 6 % 2:
            is_long = i % 5 == 2
            caption = sample.long if is_long else sample.short
            yield Chat(caption, "", brief_caption(sample.scene, rng) if is_long else caption)
        else:
            question = ask_any(sample.scene, data.world, rng)
            yield Chat(brief_caption(sample.scene, rng), question.text, question.answer)


def _answers_first(data: SceneSet) -> Iterator[Chat]:
    """Questions by their answers, about brief captions and placed ones in turn. Requests are short, placed or long in
    turn; a long one is answered by the placed caption of its scene, which leaves size and background out."""
    asked = by_answer([sample.scene for sample in data.samples], data.world, [31])
    for i, sample in enumerate(data.samples):
        if i // 6 % 2:
            kind = i // 12 % 3
            yield Chat((sample.short, sample.placed, sample.long)[kind], "", sample.placed if kind else sample.short)
        else:
            number, question = next(asked)
            yield Chat(_read(data.samples[number], i), question.text, question.answer)


def _read(sample: SceneSample, turn: int) -> str:
    """What a question can be answered from: both of colour and shape, so not a short caption, which may leave them
    out."""
    return brief_caption(sample.scene, np.random.default_rng([turn, 31])) if turn % 4 else sample.long


def understanding_rows(backbone: Backbone, data: SceneSet, image_tokens: int) -> ImageRows:
    """``QUESTION_DRAWS`` rows for each image, which ask a question or, less often, for a long description."""
    tokenizer, rows, images = backbone.tokenizer, [], []
    for image, question in _seen_answers_first(data) if data.world.questions == "by_answer" else _seen_in_turn(data):
        text, answer = (question.text, question.answer) if question else (DESCRIBE, data.samples[image].long)
        rows.append(row(question_ids(tokenizer, text, image_tokens), answer_ids(tokenizer, answer)))
        images.append(image)
    return ImageRows(rows, torch.tensor(images))


def _seen_in_turn(data: SceneSet) -> Iterator[tuple[int, Question | None]]:
    """Every image in turn, and again with other questions; None for a description."""
    for draw in range(QUESTION_DRAWS):
        for i, sample in enumerate(data.samples):
            described = (i + draw) % 5 == 4
            rng = np.random.default_rng([i, 37, draw])
            yield i, None if described else ask_any(sample.scene, data.world, rng)


def _seen_answers_first(data: SceneSet) -> Iterator[tuple[int, Question | None]]:
    """Questions by their answers, and every tenth row the description of an image, all images in turn."""
    asked = by_answer([sample.scene for sample in data.samples], data.world, [37])
    for number in range(QUESTION_DRAWS * len(data)):
        turn, place = divmod(number, DESCRIBED)
        yield (turn % len(data), None) if place == DESCRIBED - 1 else next(asked)
