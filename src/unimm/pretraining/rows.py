"""Chats that teach the foundation's backbone language: requests to draw, and questions about captions.

How scenes are asked about is their world's (`unimm.scenes.questions`). Where every scene is asked in turn (`by_scene`,
the first edition of the nano foundation), requests are short or long. Where answers come first (`by_answer`), single
objects are asked for, and requests name places too. `unimm.pretraining.image_rows` asks about images.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import numpy as np

from unimm.backbones.causal_lm import Row, row
from unimm.backbones.wording import answer_ids, generation_ids, reading_ids
from unimm.components import Backbone
from unimm.data.scenes import SceneSet
from unimm.scenes.captions import brief_caption, sentence_about
from unimm.scenes.questions import Question, ask_any, by_answer, unique_items


def language_rows(backbone: Backbone, data: SceneSet) -> list[Row]:
    """Rows that ask about a caption, and requests to draw one, which the answer repeats.

    Repeating is what any pretrained language model can do and a small one has to learn: without it, states after the
    prompt hold its colours but not its shapes, and a frozen backbone has nothing to tell the head.
    """
    tokenizer = backbone.tokenizer
    chats = _answers_first(data) if data.world.questions == "by_answer" else _scene_by_scene(data)
    rows = []
    for caption, question, answer in chats:
        prompt = reading_ids(tokenizer, caption, question) if question else generation_ids(tokenizer, caption)
        rows.append(row(prompt, answer_ids(tokenizer, answer)))
    return weighed(rows, data)


class Chat(NamedTuple):
    """A caption with a question about it, or a request to draw it, where there is none; and the answer."""

    caption: str
    question: str
    answer: str


def _scene_by_scene(data: SceneSet) -> Iterator[Chat]:
    """Each scene in turn; every other row is a request. A long one is answered by the brief caption of its scene."""
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
    """Half of the rows ask about brief captions, questions by their answers; a quarter asks for one of its objects. The
    last quarter are requests to draw, short, placed or long in turn; a long one is answered by the placed caption of
    its scene, which leaves size and background out."""
    asked = by_answer([sample.scene for sample in data.samples], data.world, [31])
    objects = requested_objects(data, [53])
    for i, sample in enumerate(data.samples):
        turn = i // 6 % 4
        if turn == 3:
            kind = i // 24 % 3
            yield Chat((sample.short, sample.placed, sample.long)[kind], "", sample.placed if kind else sample.short)
            continue
        number, text, answer = next(objects) if turn == 2 else _worded(*next(asked))
        caption = brief_caption(data.samples[number].scene, np.random.default_rng([i, 31]))
        yield Chat(caption, text, answer)


def _worded(number: int, question: Question) -> tuple[int, str, str]:
    return number, question.text, question.answer


def requested_objects(data: SceneSet, key: list[int], with_place: bool = False) -> Iterator[tuple[int, str, str]]:
    """Numbers of scenes, a request to describe one of its objects that its shape alone names, and the answer.

    A question about two objects is right by chance half of the time for whoever knows both colours, and stays so for
    long. Here the answer begins with the shape, which its facts follow.
    """
    rng = np.random.default_rng(key)
    for number in cycle(range(len(data))):
        scene = data.samples[number].scene
        items = unique_items(scene)
        if items:
            item = items[int(rng.integers(len(items)))]
            yield number, f"describe the {item.shape} .", sentence_about(item, scene, with_place)


def weighed(rows: list[Row], data: SceneSet) -> list[Row]:
    """With answers first, every row counts alike: a description is thirty times as long as an answer and would drown
    it. The first edition's rows count by their tokens."""
    return [each.evenly() for each in rows] if data.world.questions == "by_answer" else rows
