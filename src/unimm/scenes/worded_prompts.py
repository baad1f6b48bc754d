"""Prompts worded as long or placed captions that state the facts of GenEval-style prompts, among others.

A short prompt leaves open what a long caption says: places, sizes, the background, colours that nobody asked for; a
placed one adds the places alone. Each such prompt therefore describes one scene that fulfils its short prompt, and
keeps the short prompt's metadata, so that all wordings are judged on the same facts. The scene is the same for every
wording. It belongs to the split of the prompts and shows no combination that training never shows, which has a score
of its own (`unimm.scenes.combinations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unimm.scenes.captions import long_caption, placed_caption
from unimm.scenes.prompts import Metadata
from unimm.scenes.stream import compose, shows_held_out, split_of
from unimm.scenes.world import Scene, World

WORDINGS: Mapping[str, Callable[[Metadata, Scene, np.random.Generator], str]] = {
    "place": placed_caption,
    "long": lambda metadata, scene, rng: long_caption(scene, rng),
}


class WordedPrompt(NamedTuple):
    """GenEval's metadata with the other wording as its prompt, and the scene that the wording describes."""

    metadata: Metadata
    scene: Scene


def worded_prompts(prompts: Sequence[Metadata], world: World, wording: str, split: str = "test") -> list[WordedPrompt]:
    """Every short prompt in a wording of `WORDINGS`, a function of the prompts' metadata and their numbers alone.

    ``split`` is the one that the described scenes belong to.
    """
    found = []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 61])
        scene = None
        while scene is None or split_of(scene) != split or shows_held_out(scene):
            scene = compose(metadata, world, rng)
        found.append(WordedPrompt({**metadata, "prompt": WORDINGS[wording](metadata, scene, rng)}, scene))
    return found
