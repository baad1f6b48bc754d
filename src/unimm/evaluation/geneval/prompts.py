"""The official GenEval prompts, generated: 553 prompts in six tasks for seed 43 and 100 draws a task.

Byte for byte the files ``evaluation_metadata.jsonl`` and ``generation_prompts.txt`` of djghosh13/geneval, whose
``prompts/create_prompts.py`` defines the draws; this is our own code. The order of the draws is part of the protocol:
one generator serves all tasks, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unimm.scenes.prompts import NUMBERS, Metadata, article, plural
from unimm.scenes.world import COLOURS, RELATIONS

# The 80 COCO classes in COCO's order; three are renamed: mouse, remote and keyboard alone would be ambiguous prompts.
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, computer mouse,
tv remote, computer keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
teddy bear, hair drier, toothbrush
"""
OBJECT_NAMES = tuple(name.strip() for name in _NAMES.split(","))
THINGS = OBJECT_NAMES[1:]  # persons are never given a colour


def generate_prompts(seed: int = 43, draws: int = 100) -> list[Metadata]:
    """The prompts' metadata, ``{tag, include, (exclude), prompt}``; repeated samples are kept once.

    ``draws`` is the number drawn for every task but ``single_object``, which names each class once.
    """
    generator = np.random.default_rng(seed)
    samples = [*_single_objects(generator)]
    samples += [draw(generator) for draw in DRAWN_TASKS for _ in range(draws)]
    return list({json.dumps(sample): sample for sample in samples}.values())


def metadata_text(samples: list[Metadata]) -> str:
    """The text of ``evaluation_metadata.jsonl``: one JSON object a line."""
    return "".join(json.dumps(sample) + "\n" for sample in samples)


def prompts_text(samples: list[Metadata]) -> str:
    """The text of ``generation_prompts.txt``: one prompt a line."""
    return "".join(sample["prompt"] + "\n" for sample in samples)


def _single_objects(generator: np.random.Generator) -> Iterator[Metadata]:
    for number in generator.choice(len(OBJECT_NAMES), size=len(OBJECT_NAMES), replace=False):
        name = OBJECT_NAMES[number]
        yield _sample("single_object", [_clause(name)], f"a photo of {article(name)}")


def _two_objects(generator: np.random.Generator) -> Metadata:
    a, b = _two_of(generator, OBJECT_NAMES)
    return _sample("two_object", [_clause(a), _clause(b)], f"a photo of {article(a)} and {article(b)}")


def _counting(generator: np.random.Generator) -> Metadata:
    name = _one_of(generator, OBJECT_NAMES)
    count = int(generator.integers(2, 4, endpoint=True))
    prompt = f"a photo of {NUMBERS[count]} {plural(name)}"
    return _sample("counting", [_clause(name, count)], prompt, exclude=[_clause(name, count + 1)])


def _coloured(generator: np.random.Generator) -> Metadata:
    name, colour = _one_of(generator, THINGS), _one_of(generator, tuple(COLOURS))
    return _sample("colors", [_clause(name, color=colour)], f"a photo of {article(f'{colour} {name}')}")


def _positioned(generator: np.random.Generator) -> Metadata:
    """The prompt's subject is the second clause, placed relative to clause 0."""
    a, b = _two_of(generator, OBJECT_NAMES)
    relation = _one_of(generator, RELATIONS)
    include = [_clause(b), _clause(a, position=[relation, 0])]
    return _sample("position", include, f"a photo of {article(a)} {relation} {article(b)}")


def _attributed(generator: np.random.Generator) -> Metadata:
    a, b = _two_of(generator, THINGS)
    colour_a, colour_b = _two_of(generator, tuple(COLOURS))
    prompt = f"a photo of {article(f'{colour_a} {a}')} and {article(f'{colour_b} {b}')}"
    return _sample("color_attr", [_clause(a, color=colour_a), _clause(b, color=colour_b)], prompt)


DRAWN_TASKS: tuple[Callable[[np.random.Generator], Metadata], ...] = (
    _two_objects,
    _counting,
    _coloured,
    _positioned,
    _attributed,
)


def _one_of(generator: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[generator.choice(len(names))]


def _two_of(generator: np.random.Generator, names: tuple[str, ...]) -> tuple[str, str]:
    first, second = generator.choice(len(names), size=2, replace=False)
    return names[first], names[second]


def _clause(name: str, count: int = 1, **constraint: Any) -> dict[str, Any]:
    return {"class": name, "count": count, **constraint}


def _sample(tag: str, include: list[dict[str, Any]], prompt: str, **more: Any) -> Metadata:
    """Keys in the order of the official file: tag, include, exclude if any, prompt."""
    return {"tag": tag, "include": include, **more, "prompt": prompt}
