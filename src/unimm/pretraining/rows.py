"""Chats that teach the foundation's backbone language: requests to draw, and questions about captions.

How scenes are asked about is their world's (`unimm.scenes.questions`). Where every scene is asked in turn (`by_scene`,
the first edition of the nano foundation), requests are short or long. Where answers come first (`by_answer`), single
objects are asked for, and requests name places too; a small model is asked three questions a row, a language model from
elsewhere one. `unimm.pretraining.image_rows` asks about images.
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
from unimm.pretraining.recall import conversation
from unimm.scenes.captions import brief_caption, sentence_about
from unimm.scenes.questions import Question, ask, ask_any, by_answer, unique_items
from unimm.scenes.world import Scene, World

FURTHER = 2  # questions after a row's first
Turns = list[tuple[str, str]]


def language_rows(backbone: Backbone, data: SceneSet) -> list[Row]:
    """Rows that ask about a caption, and requests to draw one, which the answer repeats.

    Repeating is what any pretrained language model can do and a small one has to learn: without it, states after the
    prompt hold its colours but not its shapes, and a frozen backbone has nothing to tell the head.
    """
    tokenizer, further = backbone.tokenizer, FURTHER if backbone.of_foundation else 0
    chats = _answers_first(data, further) if data.world.questions == "by_answer" else _scene_by_scene(data)
    rows = []
    for caption, turns in chats:
        question, answer = turns[0]
        if question:
            rows.append(conversation(tokenizer, reading_ids(tokenizer, caption, question), turns))
        else:
            rows.append(row(generation_ids(tokenizer, caption), answer_ids(tokenizer, answer)))
    return weighed(rows, data)


class Chat(NamedTuple):
    """A caption with questions about it and their answers; a request to draw it asks nothing and has an answer."""

    caption: str
    turns: Turns


def _scene_by_scene(data: SceneSet) -> Iterator[Chat]:
    """Each scene in turn; every other row is a request. A long one is answered by the brief caption of its scene."""
    for i, sample in enumerate(data.samples):
        rng = np.random.default_rng([i, 31])
        if i // 6 % 2:
            is_long = i % 5 == 2
            caption = sample.long if is_long else sample.short
            yield Chat(caption, [("", brief_caption(sample.scene, rng) if is_long else caption)])
        else:
            question = ask_any(sample.scene, data.world, rng)
            yield Chat(brief_caption(sample.scene, rng), [(question.text, question.answer)])


def _answers_first(data: SceneSet, further: int) -> Iterator[Chat]:
    """Half of the rows ask about brief captions, questions by their answers; a quarter asks for one of its objects. The
    last quarter are requests to draw, short, placed or long in turn; a long one is answered by the placed caption of
    its scene, which leaves size and background out."""
    asked = by_answer([sample.scene for sample in data.samples], data.world, [31])
    objects = requested_objects(data, [53])
    for i, sample in enumerate(data.samples):
        turn = i // 6 % 4
        if turn == 3:
            kind = i // 24 % 3
            answer = sample.placed if kind else sample.short
            yield Chat((sample.short, sample.placed, sample.long)[kind], [("", answer)])
            continue
        if turn == 2:
            number, *described = next(objects)
            turns = [(described[0], described[1])]
        else:
            number, first = next(asked)
            rng = np.random.default_rng([i, 71])
            turns = with_further(first, data.samples[number].scene, data.world, rng, further)
        yield Chat(brief_caption(data.samples[number].scene, np.random.default_rng([i, 31])), turns)


def with_further(first: Question, scene: Scene, world: World, rng: np.random.Generator, number: int) -> Turns:
    """A question and ``number`` further ones about the same scene, with their answers.

    They ask how objects stand to each other where one can tell, as that is learnt last: two words have to be found and
    compared. They are not balanced by their answers, as the scene is there to be read, and tests ask one.
    """
    questions = [first, *(ask("relation", scene, world, rng) or ask_any(scene, world, rng) for _ in range(number))]
    return [(question.text, question.answer) for question in questions]


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
