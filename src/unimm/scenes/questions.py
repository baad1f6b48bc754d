"""Questions with exact answers about a scene: exists, count, colour and relation.

Yes/no questions are balanced by construction: the answer is drawn first, then a question that has it. Counts are not
where every scene is asked what it can be asked (``World.questions`` is ``by_scene``): most scenes hold no or one object
of a shape, so that the question alone gives the answer away. With ``by_answer`` the question and the answer come first,
and then a scene that has them (`by_answer`): all answers of a question are equally frequent, and whoever sees the
question alone is at chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from unimm.scenes.captions import NUMBER_WORDS
from unimm.scenes.prompts import article, plural
from unimm.scenes.world import RELATIONS, Item, Scene, World

KINDS = ("exists", "count", "colour", "relation")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


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
    return _is_there(*options[int(rng.integers(len(options)))], wanted)


def _is_there(colour: str, shape: str, answer: bool) -> Question:
    text = f"is there {article(f'{colour} {shape}')} ?"
    return Question("exists", text, "yes" if answer else "no", ("yes", "no"))


def _count(scene: Scene, world: World, rng: np.random.Generator) -> Question:
    shapes = sorted({i.shape for i in scene.items}) if rng.random() < 0.75 else list(world.shapes)
    return _how_many(shapes[int(rng.integers(len(shapes)))], scene)


def _how_many(shape: str, scene: Scene) -> Question:
    number = sum(i.shape == shape for i in scene.items)
    return Question("count", f"how many {plural(shape)} are there ?", NUMBER_WORDS[number], NUMBER_WORDS)


def _colour(scene: Scene, world: World, rng: np.random.Generator) -> Question | None:
    unique = unique_items(scene)
    return _what_colour(unique[int(rng.integers(len(unique)))], world) if unique else None


def unique_items(scene: Scene) -> list[Item]:
    """The items that their shape alone names."""
    shapes = [i.shape for i in scene.items]
    return [i for i in scene.items if shapes.count(i.shape) == 1]


def what_colour(shape: str) -> str:
    """The question for the colour of an object that its shape alone names."""
    return f"what colour is the {shape} ?"


def _what_colour(item: Item, world: World) -> Question:
    return Question("colour", what_colour(item.shape), item.colour, world.colours)


def _relation(scene: Scene, world: World, rng: np.random.Generator) -> Question | None:
    pairs = clear_relations(scene)
    if not pairs:
        return None
    a, relation, b = pairs[int(rng.integers(len(pairs)))]
    return _stands(a, relation, b, bool(rng.integers(2)))


def clear_relations(scene: Scene) -> list[tuple[Item, str, Item]]:
    """Clear relations between items that their shapes alone name."""
    unique = unique_items(scene)
    return [(a, r, b) for a in unique for b in unique if a != b for r in RELATIONS if a.stands(r, b)]


def _stands(a: Item, relation: str, b: Item, answer: bool) -> Question:
    """Whether ``a`` stands like that, or, to be answered with no, in the opposite way."""
    asked = relation if answer else OPPOSITE[relation]
    text = f"is the {a.shape} {asked} the {b.shape} ?"
    return Question("relation", text, "yes" if answer else "no", ("yes", "no"))


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


def every_question(kind: str, scene: Scene, world: World) -> list[Question]:
    """All questions of a kind that a scene can be asked."""
    if kind == "exists":
        present = {(i.colour, i.shape) for i in scene.items}
        return [_is_there(c, s, (c, s) in present) for c in world.colours for s in world.shapes]
    if kind == "count":
        return [_how_many(shape, scene) for shape in world.shapes]
    if kind == "colour":
        return [_what_colour(item, world) for item in unique_items(scene)]
    return [_stands(*pair, answer) for pair in clear_relations(scene) for answer in (True, False)]


def by_answer(scenes: Sequence[Scene], world: World, key: Sequence[int]) -> Iterator[tuple[int, Question]]:
    """Numbers of scenes and a question about each, without end, drawn by ``key``.

    Kinds take turns, of each kind the questions, of each question the answers that it has, and of each answer the
    scenes that have it. A question whose answer is the same in all scenes is not asked.
    """
    rng = np.random.default_rng(key)
    asked: dict[str, dict[str, dict[Question, list[int]]]] = {kind: {} for kind in KINDS}
    for number in rng.permutation(len(scenes)).tolist():
        for kind, texts in asked.items():
            for question in every_question(kind, scenes[number], world):
                texts.setdefault(question.text, {}).setdefault(question, []).append(number)
    turns = {kind: _in_turn(texts, rng) for kind, texts in asked.items()}
    open_ones = [each for each in turns.values() if each]
    for turn in count():
        answered = open_ones[turn % len(open_ones)]
        rounds, place = divmod(turn // len(open_ones), len(answered))
        answers = answered[place]
        question, numbers = answers[(rounds + place) % len(answers)]
        yield numbers[rounds // len(answers) % len(numbers)], question


def _in_turn(
    texts: Mapping[str, Mapping[Question, list[int]]], rng: np.random.Generator
) -> list[list[tuple[Question, list[int]]]]:
    """Of each text, in an order that is drawn, the questions by their answers with the scenes that have them."""
    several = [sorted(texts[text].items()) for text in sorted(texts) if len(texts[text]) > 1]
    return [several[i] for i in rng.permutation(len(several)).tolist()]
