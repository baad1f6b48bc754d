"""Prompts that name two coloured shapes in a relation, over combinations that training showed or never showed.

``a photo of a red circle left of a blue square``: `unimm.scenes.stream` keeps one in ten of these combinations out of
training and validation, captions and pictures. Prompts of both kinds have the same wording, which no short caption has,
so that their difference is what composing something new costs and not what an unfamiliar sentence costs.

The stream holds out *clear* relations, which lie at most half as far across as along. GenEval's rule accepts diagonals
too, where two relations hold at once and training shows a held-out pair now and then. What is held out and what is
scored must be the same, so that these prompts have a score under the clear rule beside GenEval's.
"""

from __future__ import annotations

import numpy as np

from unimm.scenes.geneval_rules import Box, relative_position
from unimm.scenes.prompts import Metadata, article
from unimm.scenes.stream import is_held_out
from unimm.scenes.world import ASLANT, RELATIONS, Item, World

TAGS = {True: "held_out", False: "seen"}


def combination_prompts(world: World, count: int, held_out: bool) -> list[Metadata]:
    """``count`` distinct prompts of held-out or of seen combinations, a function of the arguments alone."""
    rng = np.random.default_rng([43, 3, int(held_out)])
    found: dict[str, Metadata] = {}
    while len(found) < count:
        shapes = rng.choice(len(world.shapes), size=2, replace=False)
        colours = rng.choice(len(world.colours), size=2, replace=False)
        subject, reference = (
            Item(world.shapes[shape], world.colours[colour], 0.5, 0.5, world.radius[0])
            for shape, colour in zip(shapes, colours, strict=True)
        )
        relation = RELATIONS[int(rng.integers(len(RELATIONS)))]
        if is_held_out(subject, relation, reference) == held_out:
            metadata = _metadata(TAGS[held_out], subject, relation, reference)
            found[metadata["prompt"]] = metadata
    return list(found.values())


def clear_position(box_a: Box, box_b: Box) -> set[str]:
    """The relation that GenEval's rule sees between A and B if it is a clear one; none for a diagonal."""
    dx = (box_a[0] + box_a[2] - box_b[0] - box_b[2]) / 2
    dy = (box_a[1] + box_a[3] - box_b[1] - box_b[3]) / 2
    clear: set[str] = set()
    if abs(dy) <= ASLANT * abs(dx):
        clear |= {"left of", "right of"}
    if abs(dx) <= ASLANT * abs(dy):
        clear |= {"above", "below"}
    return clear & relative_position(box_a, box_b)


def _metadata(tag: str, subject: Item, relation: str, reference: Item) -> Metadata:
    words = [article(f"{item.colour} {item.shape}") for item in (subject, reference)]
    return {
        "tag": tag,
        "include": [
            {"class": reference.shape, "count": 1, "color": reference.colour},
            {"class": subject.shape, "count": 1, "color": subject.colour, "position": [relation, 0]},
        ],
        "prompt": f"a photo of {words[0]} {relation} {words[1]}",
    }
