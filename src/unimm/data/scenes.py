"""Scenes held in memory: the finite training set of a run, rendered once.

``half`` 0 or 1 takes the first or second six of every twelve scenes (six: one of each family), so that two models
can be trained on disjoint halves: the evaluators see one, what they judge saw the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unimm.scenes.render import render
from unimm.scenes.stream import Sample, scene_sample
from unimm.scenes.world import World


class SceneSet:
    """``size`` samples of a split with their images as uint8 ``[size, 3, resolution, resolution]``."""

    def __init__(
        self, world: World, split: str, size: int, resolution: int, seed: int = 0, half: int | None = None
    ) -> None:
        self.world = world
        self.resolution = resolution
        self.name = f"{world.name}/{split}/{seed}/{size}@{resolution}" + (f"/half{half}" if half is not None else "")
        numbers = [i if half is None else i // 6 * 12 + half * 6 + i % 6 for i in range(size)]
        self.samples: list[Sample] = [scene_sample(world, split, seed, i) for i in numbers]

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def pixels(self) -> Tensor:
        """All images, rendered at first use."""
        images = np.stack([render(s.scene, self.resolution) for s in self.samples])
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def images(self, indices: Tensor | slice) -> Float[Tensor, "b 3 s s"]:
        """Images in [0, 1]."""
        return self.pixels[indices].float() / 255

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, ``size`` at a time."""
        for begin in range(0, len(self), size):
            yield self.images(slice(begin, begin + size))


def batch_indices(seed: int, step: int, batch: int, size: int) -> Tensor:
    """Indices of global batch ``step`` (0-based) of the stream."""
    return stream_indices(seed, step * batch, (step + 1) * batch, size)


def stream_indices(seed: int, begin: int, end: int, size: int) -> Tensor:
    """Indices of positions ``begin`` to ``end``: position p lies in epoch p // size, freshly permuted.

    A pure function of its arguments, so a resumed run needs no sampler state.
    """
    positions = np.arange(begin, end)
    indices = np.empty(len(positions), dtype=np.int64)
    for epoch in np.unique(positions // size):
        order = np.random.Generator(np.random.Philox(key=[seed, int(epoch)])).permutation(size)
        mask = positions // size == epoch
        indices[mask] = order[positions[mask] % size]
    return torch.from_numpy(indices)
