"""Scenes held in memory: the embedded world's finite training set, rendered once.

``half`` 0 or 1 takes the first or second six of every twelve scenes (six: one of each family), so that two models
can be trained on disjoint halves: the evaluators see one, what they judge saw the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unimm.data.captions import Texts
from unimm.data.order import batch_indices, stream_indices
from unimm.data.source import Context, IndexedSource, Latents, SourceConfig
from unimm.scenes.render import render
from unimm.scenes.stream import SceneSample, scene_sample
from unimm.scenes.world import World

KEPT_BYTES = 1 << 31

__all__ = ["SceneSet", "Scenes", "batch_indices", "stream_indices", "training_scenes"]


# A run asks again and again for its few sets: to train, to validate, as a reference, and to ask questions about.
@lru_cache(maxsize=8)
def _drawn(world: World, split: str, seed: int, numbers: tuple[int, ...]) -> tuple[SceneSample, ...]:
    return tuple(scene_sample(world, split, seed, number) for number in numbers)


class SceneSet:
    """``size`` samples of a split with their images as uint8 ``[size, 3, resolution, resolution]``."""

    def __init__(
        self, world: World, split: str, size: int, resolution: int, seed: int = 0, half: int | None = None
    ) -> None:
        self.world = world
        self.resolution = resolution
        self.name = f"{world.name}/{split}/{seed}/{size}@{resolution}" + (f"/half{half}" if half is not None else "")
        numbers = [i if half is None else i // 6 * 12 + half * 6 + i % 6 for i in range(size)]
        self.samples = _drawn(world, split, seed, tuple(numbers))

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def pixels(self) -> UInt8[Tensor, "m 3 s s"]:
        """All images, rendered at first use and kept."""
        return self._rendered(self.samples)

    @property
    def kept(self) -> bool:
        """Whether memory holds all images; else each is rendered whenever it is looked at."""
        return len(self) * 3 * self.resolution**2 <= KEPT_BYTES

    def between(self, begin: int, end: int) -> UInt8[Tensor, "b 3 s s"]:
        """Images ``begin`` to ``end``."""
        return self.pixels[begin:end] if self.kept else self._rendered(self.samples[begin:end])

    def _rendered(self, samples: Sequence[SceneSample]) -> UInt8[Tensor, "b 3 s s"]:
        images = np.stack([render(sample.scene, self.resolution) for sample in samples])
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def images(self, indices: Tensor | slice) -> Float[Tensor, "b 3 s s"]:
        """Images in [0, 1]."""
        return self.pixels[indices].float() / 255

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, ``size`` at a time."""
        for begin in range(0, len(self), size):
            yield self.between(begin, begin + size).float() / 255


# A run asks for the set twice: as its source, and for the questions of joint training.
@lru_cache(maxsize=1)
def training_scenes(world: World, size: int, resolution: int) -> SceneSet:
    """The first scenes of the training stream's first half, which a foundation saw too."""
    return SceneSet(world, "train", size, resolution, half=0)


def texts_of_scene(sample: SceneSample) -> Texts:
    """The scene's captions, one of each kind."""
    return Texts(short=(sample.short,), long=(sample.long,), placed=(sample.placed,))


class Scenes(IndexedSource):
    """The embedded world's scenes: ``data.train_scenes`` of them, rendered in memory."""

    class Config(SourceConfig):
        """Their world is the foundation's, their number ``data.train_scenes``; any resolution can be rendered."""

    latents: Latents = "cache"

    def __init__(self, scenes: SceneSet) -> None:
        self.scenes = scenes

    @classmethod
    def shows_scenes(cls, config: Any) -> bool:
        return True

    @classmethod
    def build(cls, config: Config, context: Context) -> Scenes:
        return cls(training_scenes(context.world, context.train_scenes, config.side(context)))

    @property
    def name(self) -> str:
        return self.scenes.name

    @property
    def resolution(self) -> int:
        return self.scenes.resolution

    def __len__(self) -> int:
        return len(self.scenes)

    def key(self, index: int) -> str:
        return str(index)

    def image(self, index: int) -> UInt8[Tensor, "3 s s"]:
        return self.scenes.between(index, index + 1)[0]

    def texts(self, index: int) -> Texts:
        return texts_of_scene(self.scenes.samples[index])

    def batches(self, size: int) -> Iterator[Float[Tensor, "b 3 s s"]]:
        return self.scenes.batches(size)

    def repeated_captions(self) -> Iterator[str]:
        """The short ones, which leave place and size open: many scenes have the same."""
        return (sample.short for sample in self.scenes.samples)

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "samples": len(self)}]
