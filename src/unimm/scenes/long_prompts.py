"""Prompts worded as long captions that state the facts of GenEval-style prompts, among others.

A short prompt leaves open what a long caption says: places, sizes, the background, colours that nobody asked for. Each
long prompt therefore describes one scene that fulfils its short prompt, and keeps the short prompt's metadata, so that
both wordings are judged on the same facts. The scene belongs to the test split and shows no combination that training
never shows, which has a score of its own (`unimm.scenes.combinations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unimm.scenes.captions import long_caption
from unimm.scenes.prompts import Metadata
from unimm.scenes.stream import compose, shows_held_out, split_of
from unimm.scenes.world import Scene, World


class LongPrompt(NamedTuple):
    """GenEval's metadata with the long wording as its prompt, and the scene that the wording describes."""

    metadata: Metadata
    scene: Scene


def long_prompts(prompts: Sequence[Metadata], world: World) -> list[LongPrompt]:
    """The long wording of every short prompt, a function of the prompts' metadata and their numbers alone."""
    found = []
    for number, metadata in enumerate(prompts):
        rng = np.random.default_rng([number, 61])
        scene = None
        while scene is None or split_of(scene) != "test" or shows_held_out(scene):
            scene = compose(metadata, world, rng)
        found.append(LongPrompt({**metadata, "prompt": long_caption(scene, rng)}, scene))
    return found
