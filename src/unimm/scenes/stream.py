"""A deterministic stream of scenes: sample ``index`` of a split is a pure function of (world, split, seed, index).

Splits share no scene, whatever the seeds: a scene's discrete signature is hashed, and the hash alone decides the
split. Ordered pairs of coloured shapes in a relation (``red circle left of blue square``) are held out by hash too:
training and validation never show them, test may.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from unimm.scenes.captions import long_caption, placed_caption, short_caption
from unimm.scenes.prompts import Metadata, sample
from unimm.scenes.world import BACKGROUND, FAMILIES, Item, Scene, World

SPLITS = {"train": range(90), "validation": range(90, 95), "test": range(95, 100)}
HELD_OUT_SHARE = 10


class SceneSample(NamedTuple):
    """A scene with what its short caption names and its captions."""

    scene: Scene
    metadata: Metadata
    short: str
    long: str
    placed: str


@lru_cache(maxsize=1 << 16)
def _bucket(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % size


def split_of(scene: Scene) -> str:
    """The split that a scene belongs to, by the hash of its signature."""
    bucket = _bucket(scene.signature(), 100)
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def is_held_out(a: Item, relation: str, b: Item) -> bool:
    """Whether this combination of shapes, colours and relation is kept out of training (one in ten)."""
    if relation in ("right of", "below"):
        a, b = b, a
        relation = {"right of": "left of", "below": "above"}[relation]
    return _bucket(f"{a.colour} {a.shape} {relation} {b.colour} {b.shape}", HELD_OUT_SHARE) == 0


def shows_held_out(scene: Scene) -> bool:
    """Whether any pair of the scene's items stands in a held-out combination."""
    return any(
        a.stands(relation, b) and is_held_out(a, relation, b)
        for a in scene.items
        for b in scene.items
        if a is not b
        for relation in ("left of", "above")
    )


def compose(metadata: Metadata, world: World, rng: np.random.Generator) -> Scene | None:
    """Place the objects that a prompt names, drawing all that it leaves open; None when they do not fit."""
    wanted: list[tuple[str, str]] = []
    for clause in metadata["include"]:
        for _ in range(clause["count"]):
            colour = clause.get("color") or world.colours[int(rng.integers(len(world.colours)))]
            wanted.append((clause["class"], colour))
    low, high = world.radius
    high = high - (high - low) * max(len(wanted) - 2, 0) / 3
    items: list[Item] = []
    for shape, colour in wanted:
        for _ in range(20):
            radius = float(rng.uniform(low, high))
            item = Item(shape, colour, *_centre(radius, world, rng), radius)
            if all(item.clear_of(other) for other in items):
                items.append(item)
                break
        else:
            return None
    relation = metadata["include"][-1].get("position")
    if relation and not items[-1].stands(relation[0], items[relation[1]]):
        return None
    return Scene(tuple(items), float(rng.uniform(*BACKGROUND)))


def _centre(radius: float, world: World, rng: np.random.Generator) -> tuple[float, float]:
    """A random centre (x, y) for an object of that half-size."""
    if world.lattice is None:
        places = rng.uniform(radius + 1 / 64, 1 - radius - 1 / 64, size=2)
    else:
        cell = rng.integers(world.lattice, size=2)
        places = (cell + 0.5) / world.lattice + rng.uniform(-world.jitter, world.jitter, size=2)
    return float(places[0]), float(places[1])


def scene_sample(world: World, split: str, seed: int, index: int) -> SceneSample:
    """Sample ``index`` of the stream; families take turns so that every stretch of six holds each once."""
    rng = np.random.default_rng([seed, index, list(SPLITS).index(split), 7])
    family = FAMILIES[index % len(FAMILIES)]
    while True:
        metadata = sample(family, rng, world)
        scene = compose(metadata, world, rng)
        if scene is None or split_of(scene) != split or (split != "test" and shows_held_out(scene)):
            continue
        short, long = short_caption(metadata, rng), long_caption(scene, rng)
        return SceneSample(scene, metadata, short, long, placed_caption(metadata, scene, rng))
