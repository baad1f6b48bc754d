"""Lists that teach a language model to look things up: made-up ones in words, and what an image shows.

Whoever knows both colours of a caption answers half of the questions about one of its objects, and a small model stays
there for long: to find a word again and say what stood before it takes layers that have to learn together (induction
heads, arXiv 2209.11895), and a question with one answer says little about it. A list asks for many words a row
(multi-query associative recall, arXiv 2312.04927). First come pairs of any words, asked one after the other; then
objects in a caption's words, asked in sentences and in the questions that the scenes ask. An image is a list already.

The loss covers the answers alone: what is asked next cannot be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from unimm.backbones.causal_lm import Row, row
from unimm.backbones.literal import special_ids
from unimm.backbones.wording import answer_ids, image_id, reading_ids
from unimm.scenes.captions import place
from unimm.scenes.prompts import article
from unimm.scenes.questions import OPPOSITE, clear_relations, unique_items, what_colour
from unimm.scenes.world import COLOURS, RELATIONS, SHAPES, Scene

PAIRS = 6
OBJECTS = (2, 6)  # how many a list has at least, and fewer than
JOINTS = ("and", *RELATIONS)
Thing = TypeVar("Thing")


def any_pairs(tokenizer: Any, rng: np.random.Generator) -> Row:
    """``value key value key ... key value key value``: in the second half keys come in another order."""
    words = _words(tokenizer)
    keys, values = rng.choice(words, PAIRS, replace=False), rng.choice(words, PAIRS)
    order = rng.permutation(PAIRS)
    shown = np.stack([values, keys], axis=1).ravel().tolist()
    asked = np.stack([keys[order], values[order]], axis=1).ravel().tolist()
    return Row([*shown, *asked], len(asked), asides=tuple(range(0, len(asked), 2))).evenly()


def told(tokenizer: Any, rng: np.random.Generator) -> Row:
    """What a made-up caption tells: how two objects stand, or the colours of all."""
    return (told_relation if rng.random() < 0.5 else told_objects)(tokenizer, rng)


def told_objects(tokenizer: Any, rng: np.random.Generator) -> Row:
    """Two to five objects of unlike shapes, half of the time in a caption's words; of all of them, in any order, a
    sentence says the colour, or a question asks for it in one turn each."""
    number = int(rng.integers(*OBJECTS))
    shapes = rng.choice(SHAPES, number, replace=False).tolist()
    colours = rng.choice(list(COLOURS), number).tolist()
    listed = _listed([f"{colour} {shape}" for colour, shape in zip(colours, shapes, strict=True)], rng)
    order = rng.permutation(number).tolist()
    if rng.random() < 0.5:
        prompt = reading_ids(tokenizer, listed, "describe the objects .")
        answer = answer_ids(tokenizer, " ".join(f"the {shapes[i]} is {colours[i]} ." for i in order))
        asides = tuple(place for place in range(5 * number) if place % 5 < 3)  # the circle is, one token a word
        return row(prompt, answer)._replace(asides=asides).evenly()
    turns = [(what_colour(shapes[i]), colours[i]) for i in order]
    return conversation(tokenizer, reading_ids(tokenizer, listed, turns[0][0]), turns).evenly()


def told_relation(tokenizer: Any, rng: np.random.Generator) -> Row:
    """``a red circle left of a blue square . circle square left square circle right circle right of square no``: how
    each stands to the other, then whether each stands so, of all four ways to ask in any order.

    Whether it does depends on the order of the shapes and on the word, and on neither alone. So a question with one
    answer stays at one half for long, while the word itself can be learnt from the order.
    """
    shapes = rng.choice(SHAPES, int(rng.integers(2, 4)), replace=False).tolist()
    names = [article(f"{colour} {shape}") for shape, colour in zip(shapes, rng.choice(list(COLOURS), 3), strict=False)]
    relation = RELATIONS[int(rng.integers(len(RELATIONS)))]
    ways = [(shapes[0], relation, shapes[1]), (shapes[1], OPPOSITE[relation], shapes[0])]
    facts = [([a, b], [stands.split()[0]]) for a, stands, b in _mixed(ways, rng)]
    asked = [(*way, "yes") for way in ways] + [(a, OPPOSITE[stands], b, "no") for a, stands, b in ways]
    facts += [([a, *stands.split(), b], [said]) for a, stands, b, said in _mixed(asked, rng)]
    told = " and ".join([f"{names[0]} {relation} {names[1]}", *names[2:]])
    words, asides = _looked_up(facts)
    ids = tokenizer.convert_tokens_to_ids([*f"{told} .".split(), *words])
    return Row(ids, len(words), asides=asides).evenly()


def seen_objects(tokenizer: Any, scene: Scene, image_tokens: int, rng: np.random.Generator) -> Row:
    """``<image> circle red top left square blue bottom left circle square above circle below square no``: of every
    object that its shape alone names the colour and the place, then of three pairs how the first stands to the second,
    and of three whether it stands so and whether it stands the other way: to compare what is asked with what is seen is
    one more thing to learn, and comes last."""
    items, pairs = unique_items(scene), clear_relations(scene)
    facts = [([item.shape], [item.colour, *place(item).split()]) for item in _mixed(items, rng)]
    facts += [([a.shape, b.shape], [relation.split()[0]]) for a, relation, b in _mixed(pairs, rng)[:3]]
    asked = [
        (a, stands, b, said) for a, r, b in _mixed(pairs, rng)[:3] for stands, said in ((r, "yes"), (OPPOSITE[r], "no"))
    ]
    facts += [([a.shape, *stands.split(), b.shape], [said]) for a, stands, b, said in _mixed(asked, rng)]
    words, asides = _looked_up(facts)
    images = [image_id(tokenizer)] * image_tokens
    return Row([*images, *tokenizer.convert_tokens_to_ids(words)], len(words), asides=asides).evenly()


def conversation(tokenizer: Any, prompt: list[int], turns: Sequence[tuple[str, str]]) -> Row:
    """Questions in turn with the answers, which the loss covers; ``prompt`` ends with the first question."""
    answer, asides = list(answer_ids(tokenizer, turns[0][1])), list[int]()
    for question, said in turns[1:]:
        further = _further(tokenizer, question)
        asides += range(len(answer), len(answer) + len(further))
        answer += [*further, *_said(tokenizer, said)]
    return row(prompt, answer)._replace(asides=tuple(asides))


def _looked_up(facts: Sequence[tuple[list[str], list[str]]]) -> tuple[list[str], tuple[int, ...]]:
    """What is asked and said, in one list of words, and the places of what is asked, which the loss leaves out."""
    words, asides = list[str](), list[int]()
    for asked, said in facts:
        asides += range(len(words), len(words) + len(asked))
        words += [*asked, *said]
    return words, tuple(asides)


def _mixed(things: Sequence[Thing], rng: np.random.Generator) -> list[Thing]:
    return [things[i] for i in rng.permutation(len(things))]


def _listed(names: list[str], rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return f"{' '.join(names)} ."
    first, *others = (article(name) for name in names)
    return " ".join([first, *(f"{JOINTS[int(rng.integers(len(JOINTS)))]} {each}" for each in others), "."])


@lru_cache(maxsize=4)
def _words(tokenizer: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Ids of all words but special tokens."""
    return np.array(sorted(set(range(len(tokenizer))) - special_ids(tokenizer)))


@lru_cache(maxsize=1024)
def _further(tokenizer: Any, question: str) -> list[int]:
    """Ids of a question about what an earlier turn shows: there are few, and many rows."""
    return reading_ids(tokenizer, "", question)


@lru_cache(maxsize=1024)
def _said(tokenizer: Any, answer: str) -> list[int]:
    return answer_ids(tokenizer, answer)
