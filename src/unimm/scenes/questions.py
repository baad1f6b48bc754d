"""Questions with exact answers about a scene: exists, count, colour and relation.

Yes/no questions are balanced by construction: the answer is drawn first, then a question that has it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unimm.scenes.captions import NUMBER_WORDS
from unimm.scenes.prompts import article, plural
from unimm.scenes.world import RELATIONS, Scene, World

KINDS = ("exists", "count", "colour", "relation")


class Question(NamedTuple):
    """A question about one image, its one-word answer and the answers it could have had."""

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...]


def _exists(scene: Scene, world: World, rng: np.random.Generator) -> Question:
    present = {(i.colour, i.shape) for i in scene.items}
    wanted = bool(rng.integers(2))
    options = [(c, s) for c in world.colours for s in world.shapes if ((c, s) in present) == wanted]
    colour, shape = options[int(rng.integers(len(options)))]
    text = f"is there {article(f'{colour} {shape}')} ?"
    return Question("exists", text, "yes" if wanted else "no", ("yes", "no"))


def _count(scene: Scene, world: World, rng: np.random.Generator) -> Question:
    shapes = sorted({i.shape for i in scene.items}) if rng.random() < 0.75 else list(world.shapes)
    shape = shapes[int(rng.integers(len(shapes)))]
    number = sum(i.shape == shape for i in scene.items)
    return Question("count", f"how many {plural(shape)} are there ?", NUMBER_WORDS[number], NUMBER_WORDS)


def _colour(scene: Scene, world: World, rng: np.random.Generator) -> Question | None:
    shapes = [i.shape for i in scene.items]
    unique = [i for i in scene.items if shapes.count(i.shape) == 1]
    if not unique:
        return None
    item = unique[int(rng.integers(len(unique)))]
    return Question("colour", f"what colour is the {item.shape} ?", item.colour, world.colours)


def _relation(scene: Scene, world: World, rng: np.random.Generator) -> Question | None:
    shapes = [i.shape for i in scene.items]
    unique = [i for i in scene.items if shapes.count(i.shape) == 1]
    pairs = [(a, r, b) for a in unique for b in unique if a != b for r in RELATIONS if a.stands(r, b)]
    if not pairs:
        return None
    a, relation, b = pairs[int(rng.integers(len(pairs)))]
    wanted = bool(rng.integers(2))
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    asked = relation if wanted else opposite[relation]
    text = f"is the {a.shape} {asked} the {b.shape} ?"
    return Question("relation", text, "yes" if wanted else "no", ("yes", "no"))


_ASK = {"exists": _exists, "count": _count, "colour": _colour, "relation": _relation}


def ask(kind: str, scene: Scene, world: World, rng: np.random.Generator) -> Question | None:
    """A question of that kind, or None where the scene has none (no unique shape, no clear relation)."""
    return _ASK[kind](scene, world, rng)


def ask_any(scene: Scene, world: World, rng: np.random.Generator) -> Question:
    """A question of a random kind that the scene can answer (exists and count always can be asked)."""
    for kind in rng.permutation(len(KINDS)):
        question = ask(KINDS[int(kind)], scene, world, rng)
        if question is not None:
            return question
    raise AssertionError("every scene can be asked whether something exists")
