"""What is asked about images: the stream that the understanding stage and joint training both see.

Where every scene is asked in turn (`by_scene`, the first edition of the nano foundation), one row in five describes its
image. Where answers come first (`by_answer`), the stream opens with lists of what images show, and of ten rows after
that five ask three questions each, two describe one object, two are lists, and one describes its image. A question with
one answer a row does not teach a small model which colour goes with which shape (`unimm.pretraining.recall`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from unimm.backbones.causal_lm import Row
from unimm.backbones.wording import question_ids
from unimm.components import Backbone
from unimm.data.order import stream_indices
from unimm.data.scenes import SceneSet
from unimm.pretraining.recall import conversation, seen_objects
from unimm.pretraining.rows import FURTHER, Turns, requested_objects, weighed, with_further
from unimm.scenes.questions import ask_any, by_answer, unique_items
from unimm.scenes.world import World

DRAWS = 3
OPENING = 0.3  # of the stream
DESCRIBE = "describe the image ."


class ImageRows(NamedTuple):
    """Rows about images, and the number of the image that each is about."""

    rows: list[Row]
    images: Int[Tensor, " rows"]

    def at(self, seed: int, begin: int, end: int) -> tuple[list[Row], Int[Tensor, " k"]]:
        """Those at positions of an endless stream in an order that ``seed`` draws."""
        indices = stream_indices(seed, begin, end, len(self.rows)) if end > begin else torch.arange(0)
        return [self.rows[i] for i in indices.tolist()], self.images[indices]


class ImageStream(NamedTuple):
    """All that is asked about scenes' images: ``lists`` first, where there are any, then ``rows`` of all kinds."""

    lists: ImageRows
    rows: ImageRows

    def between(self, seed: int, begin: int, end: int, total: int) -> tuple[list[Row], Int[Tensor, " k"]]:
        """Rows and images at positions ``begin`` to ``end`` of a stream of ``total``, which says where lists end."""
        last = int(OPENING * total) if self.lists.rows else 0
        border = min(max(begin, last), end)
        lists, listed = self.lists.at(seed, begin, border)
        rows, images = self.rows.at(seed, border, end)
        return [*lists, *rows], torch.cat([listed, images])


def opens_with_lists(backbone: Backbone, world: World) -> bool:
    """Whether the stream does; a language model from elsewhere looks words up already, and gets one question a row."""
    return backbone.of_foundation and world.questions == "by_answer"


def image_stream(backbone: Backbone, data: SceneSet, image_tokens: int) -> ImageStream:
    """``DRAWS`` rows for each image. Where the stream opens with lists, one of every image whose shapes name two."""
    tokenizer, opens = backbone.tokenizer, opens_with_lists(backbone, data.world)
    lists = [
        (i, seen_objects(tokenizer, sample.scene, image_tokens, np.random.default_rng([i, 67])))
        for i, sample in enumerate(data.samples)
        if opens and len(unique_items(sample.scene)) > 1
    ]
    turns = _by_answer(data, bool(lists)) if data.world.questions == "by_answer" else _in_turn(data)
    listed = cycle(lists)
    rows = [(image, _row(tokenizer, said, image_tokens)) if said else next(listed) for image, said in turns]
    return ImageStream(_together(lists, data), _together(rows, data))


def _together(rows: list[tuple[int, Row]], data: SceneSet) -> ImageRows:
    images = torch.tensor([image for image, _ in rows], dtype=torch.long)
    return ImageRows(weighed([row for _, row in rows], data), images)


def _row(tokenizer: Any, turns: Turns, image_tokens: int) -> Row:
    return conversation(tokenizer, _first(tokenizer, turns[0][0], image_tokens), turns)


@lru_cache(maxsize=1024)
def _first(tokenizer: Any, question: str, image_tokens: int) -> list[int]:
    """Ids of an image and a question: there are few questions and many rows."""
    return question_ids(tokenizer, question, image_tokens)


def _in_turn(data: SceneSet) -> Iterator[tuple[int, Turns]]:
    """Every image in turn, and again with other questions; every fifth time its description."""
    for draw in range(DRAWS):
        for i, sample in enumerate(data.samples):
            if (i + draw) % 5 == 4:
                yield i, [(DESCRIBE, sample.long)]
            else:
                question = ask_any(sample.scene, data.world, np.random.default_rng([i, 37, draw]))
                yield i, [(question.text, question.answer)]


def _by_answer(data: SceneSet, with_lists: bool) -> Iterator[tuple[int, Turns]]:
    """Of ten rows five ask three questions, of which the first is drawn by its answer; no turns where a list stands."""
    asked = by_answer([sample.scene for sample in data.samples], data.world, [37])
    objects = requested_objects(data, [59], with_place=True)
    for number in range(DRAWS * len(data)):
        turn, place = divmod(number, 10)
        if place == 9:
            yield turn % len(data), [(DESCRIBE, data.samples[turn % len(data)].long)]
        elif place in (2, 5):
            image, text, answer = next(objects)
            yield image, [(text, answer)]
        elif with_lists and place in (4, 8):
            yield 0, []
        else:
            image, first = next(asked)
            rng, scene = np.random.default_rng([number, 61]), data.samples[image].scene
            yield image, with_further(first, scene, data.world, rng, FURTHER if with_lists else 0)
