"""Prompts in GenEval's six families, as GenEval's own metadata, over the shapes and colours of a world.

The same metadata drives the training scenes (what a short caption says) and the test prompts, as in GenEval's
``create_prompts.py``: position prompts list the reference object first and the subject second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unimm.scenes.world import FAMILIES, RELATIONS, World

Metadata = dict[str, Any]
NUMBERS = {2: "two", 3: "three", 4: "four"}


def article(words: str) -> str:
    """The words with their indefinite article, by GenEval's first-letter rule."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(word: str) -> str:
    """GenEval's plural: 'es' after an s, else 's'."""
    return word + ("es" if word.endswith("s") else "s")


def _pick(rng: np.random.Generator, options: tuple[str, ...], n: int = 1) -> list[str]:
    return [options[i] for i in rng.choice(len(options), size=n, replace=False)]


def single_object(rng: np.random.Generator, world: World) -> Metadata:
    (shape,) = _pick(rng, world.shapes)
    return {"include": [{"class": shape, "count": 1}], "prompt": f"a photo of {article(shape)}"}


def two_object(rng: np.random.Generator, world: World) -> Metadata:
    a, b = _pick(rng, world.shapes, 2)
    include = [{"class": a, "count": 1}, {"class": b, "count": 1}]
    return {"include": include, "prompt": f"a photo of {article(a)} and {article(b)}"}


def counting(rng: np.random.Generator, world: World) -> Metadata:
    (shape,) = _pick(rng, world.shapes)
    number = int(rng.integers(2, world.max_items, endpoint=True))
    return {
        "include": [{"class": shape, "count": number}],
        "exclude": [{"class": shape, "count": number + 1}],
        "prompt": f"a photo of {NUMBERS[number]} {plural(shape)}",
    }


def colors(rng: np.random.Generator, world: World) -> Metadata:
    (shape,), (colour,) = _pick(rng, world.shapes), _pick(rng, world.colours)
    include = [{"class": shape, "count": 1, "color": colour}]
    return {"include": include, "prompt": f"a photo of {article(f'{colour} {shape}')}"}


def position(rng: np.random.Generator, world: World) -> Metadata:
    reference, subject = _pick(rng, world.shapes, 2)
    (relation,) = _pick(rng, RELATIONS)
    include = [
        {"class": reference, "count": 1},
        {"class": subject, "count": 1, "position": [relation, 0]},
    ]
    return {"include": include, "prompt": f"a photo of {article(subject)} {relation} {article(reference)}"}


def color_attr(rng: np.random.Generator, world: World) -> Metadata:
    a, b = _pick(rng, world.shapes, 2)
    first, second = _pick(rng, world.colours, 2)
    include = [{"class": a, "count": 1, "color": first}, {"class": b, "count": 1, "color": second}]
    prompt = f"a photo of {article(f'{first} {a}')} and {article(f'{second} {b}')}"
    return {"include": include, "prompt": prompt}


_FAMILY = {
    "single_object": single_object,
    "two_object": two_object,
    "counting": counting,
    "colors": colors,
    "position": position,
    "color_attr": color_attr,
}
assert tuple(_FAMILY) == FAMILIES


def sample(family: str, rng: np.random.Generator, world: World) -> Metadata:
    """One prompt of a family, with keys in GenEval's order: tag, include, (exclude), prompt."""
    return {"tag": family, **_FAMILY[family](rng, world)}


def prompt_set(world: World, split: str, per_family: int) -> list[Metadata]:
    """``per_family`` prompts of every family, a pure function of (world, split).

    Small families repeat prompts once all distinct ones are used: a nano world has only four single-object prompts.
    """
    streams = {"validation": 1, "test": 2}
    if split not in streams:
        raise ValueError(f"prompts exist for the splits {', '.join(streams)}, not {split!r}")
    prompts: list[Metadata] = []
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([43, streams[split], number])
        seen: dict[str, int] = {}
        chosen: list[Metadata] = []
        rounds, misses = 1, 0
        while len(chosen) < per_family:
            candidate = sample(family, rng, world)
            if seen.get(candidate["prompt"], 0) < rounds:
                seen[candidate["prompt"]] = seen.get(candidate["prompt"], 0) + 1
                chosen.append(candidate)
                misses = 0
            else:
                misses += 1
                if misses > 200:
                    rounds, misses = rounds + 1, 0
        prompts.extend(chosen)
    return prompts
