"""What a description of a scene states, and how much of it is true: the grammar of long captions read backwards.

Facts are objects (size, colour, shape, place) and relations between coloured shapes. A description may name a scene's
relations in any order and need not name all of them, so that for relations only the share of stated ones that hold is
known; objects are all to be named once, so that they have an F1.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from unimm.scenes.captions import place, size
from unimm.scenes.world import RELATIONS, Scene

_OBJECT = re.compile(r"\ban? (small|large) (\w+) (\w+) in the (\w+ \w+) of the image\b")
_RELATION = re.compile(rf"\bthe (\w+) (\w+) is ({'|'.join(RELATIONS)}) the (\w+) (\w+)\b")


class Stated(NamedTuple):
    """Objects as (size, colour, shape, place), and relations as (colour, shape, relation, colour, shape)."""

    objects: list[tuple[str, str, str, str]]
    relations: list[tuple[str, str, str, str, str]]


class Truth(NamedTuple):
    """F1 of coloured shapes, and of those with their place, share of true relations, and whether all objects agree.

    ``relations`` is None for a description that states none.
    """

    objects: float
    places: float
    relations: float | None
    exact: bool


def read(description: str) -> Stated:
    """The facts that a description states; words outside the grammar state nothing."""
    return Stated(
        [found.groups() for found in _OBJECT.finditer(description)],  # type: ignore[misc]
        [found.groups() for found in _RELATION.finditer(description)],  # type: ignore[misc]
    )


def truth(description: str, scene: Scene) -> Truth:
    """How true a description is of a scene."""
    stated = read(description)
    shown = [(size(item), item.colour, item.shape, place(item)) for item in scene.items]
    return Truth(
        f1(Counter(o[1:3] for o in stated.objects), Counter(o[1:3] for o in shown)),
        f1(Counter(o[1:] for o in stated.objects), Counter(o[1:] for o in shown)),
        sum(_holds(relation, scene) for relation in stated.relations) / len(stated.relations)
        if stated.relations
        else None,
        Counter(stated.objects) == Counter(shown),
    )


def f1(stated: Counter[tuple[str, ...]], shown: Counter[tuple[str, ...]]) -> float:
    """Harmonic mean of precision and recall of two multisets; 0 where nothing is stated of something."""
    return 2 * (stated & shown).total() / (stated.total() + shown.total())


def _holds(relation: tuple[str, str, str, str, str], scene: Scene) -> bool:
    """Whether any two objects of these colours and shapes stand like that."""
    *subject, word, colour, shape = relation
    return any(
        [a.colour, a.shape] == subject and (b.colour, b.shape) == (colour, shape) and a.stands(word, b)
        for a in scene.items
        for b in scene.items
        if a is not b
    )
