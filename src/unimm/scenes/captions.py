"""Captions of a scene: short ones name what a prompt names, long ones describe everything that the image shows.

Placed ones name what short ones name and where each object stands. So kinds differ in what they leave open: place, size
and background (short), size and background (placed), nothing (long).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from unimm.scenes.prompts import Metadata, article
from unimm.scenes.world import RELATIONS, Item, Scene

NUMBER_WORDS = ("zero", "one", "two", "three", "four")
OPENINGS = ("a photo of", "a picture of", "an image of", "a drawing of")


def short_caption(metadata: Metadata, rng: np.random.Generator) -> str:
    """The family's prompt under one of four openings (half of the time GenEval's own)."""
    return str(metadata["prompt"]).replace("a photo of", _opening(rng), 1)


def placed_caption(metadata: Metadata, scene: Scene, rng: np.random.Generator) -> str:
    """What the family's prompt names, each object with its place (8 to 44 words): ``a photo of a circle in the top left
    of the image and a square in the bottom left of the image``. Items are in the order of the prompt's clauses, as
    `unimm.scenes.stream.compose` places them; two or more of a kind are named one by one."""
    clauses = [clause for clause in metadata["include"] for _ in range(clause["count"])]
    named = [
        f"{article(' '.join(filter(None, (clause.get('color'), clause['class']))))} in the {place(item)} of the image"
        for clause, item in zip(clauses, scene.items, strict=True)
    ]
    relation = clauses[-1].get("position")
    if relation:
        reference, subject = named
        return f"{_opening(rng)} {subject} {relation[0]} {reference}"
    return f"{_opening(rng)} {' and '.join(named)}"


def _opening(rng: np.random.Generator) -> str:
    return OPENINGS[0] if rng.random() < 0.5 else OPENINGS[int(rng.integers(1, len(OPENINGS)))]


def place(item: Item) -> str:
    """Where an item stands on a 3 x 3 grid."""
    column = ("left", "middle", "right")[min(int(item.x * 3), 2)]
    row = ("top", "centre", "bottom")[min(int(item.y * 3), 2)]
    return f"{row} {column}"


def size(item: Item) -> str:
    """A size word; the border lies at 21 pixels of diameter on 64."""
    return "large" if item.radius > 10.5 / 64 else "small"


def sentence_about(item: Item, scene: Scene, with_place: bool) -> str:
    """``the circle is red and left of the square and in the top left of the image .``: colour, clear relations to other
    shapes, and the place if wanted. Item and others have to be the only ones of their shapes."""
    shapes = [i.shape for i in scene.items]
    others = [i for i in scene.items if i is not item and shapes.count(i.shape) == 1]
    facts = [item.colour, *(f"{r} the {other.shape}" for other in others for r in RELATIONS if item.stands(r, other))]
    return f"the {item.shape} is {' and '.join([*facts, *[f'in the {place(item)} of the image'] * with_place])} ."


def background(scene: Scene) -> str:
    """The background's shade in words."""
    return "a dark grey background" if scene.background < 0.51 else "a light grey background"


def long_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Every item with colour, size and place, the pairwise layout and the background (28 to 100 words)."""
    items = [scene.items[i] for i in rng.permutation(len(scene.items))]
    sentences = [
        f"{OPENINGS[int(rng.integers(len(OPENINGS)))]} {NUMBER_WORDS[len(items)]} object{'s' * (len(items) > 1)} ."
    ]
    sentences += [
        f"there is {article(f'{size(i)} {i.colour} {i.shape}')} in the {place(i)} of the image ." for i in items
    ]
    for a, b in pairwise(items):
        relation = next((r for r in ("left of", "right of", "above", "below") if a.stands(r, b)), None)
        if relation:
            sentences.append(f"the {a.colour} {a.shape} is {relation} the {b.colour} {b.shape} .")
    sentences.append(f"everything stands on {background(scene)} .")
    return " ".join(sentences)


def brief_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Colours and shapes of all items, with a relation where the first two stand in a clear one (about 10 tokens)."""
    items = [scene.items[i] for i in rng.permutation(len(scene.items))]
    words = [article(f"{i.colour} {i.shape}") for i in items]
    if len(items) > 1:
        relation = next((r for r in ("left of", "right of", "above", "below") if items[0].stands(r, items[1])), None)
        if relation:
            words = [f"{words[0]} {relation} {words[1]}", *words[2:]]
    return " and ".join(words) + " ."
