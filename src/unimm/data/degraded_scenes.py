"""Scenes as a poor camera would show them: the same scenes and captions as `scenes`, only the pixels differ.

The light falls from one side and has a tint, surfaces have a texture, the lens blurs, the sensor adds noise and JPEG
blocks follow, in that order. How much of each a scene gets is a function of (seed, index); ``strength`` scales all of
it, and at 1 a small photograph was the model. That is what tells photographs of real things from renders here, and no
more: what they show stays as simple as before.

Captions must stay true of what can be seen. Opening the source therefore has the judge read a sample of its images; a
strength that leaves too few readable is refused, and the share that was read stands in the run's data card.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from pydantic import NonNegativeInt, PositiveFloat
from scipy import ndimage
from torch import Tensor

from unimm.data.scenes import Scenes, SceneSet, training_scenes
from unimm.data.source import Context
from unimm.scenes.geneval_rules import evaluate_image
from unimm.scenes.judge import detect, to_objects

GRADIENT, TINT, TEXTURE = 0.25, 0.05, 0.03  # shares of full brightness
BLUR = 0.8 / 64  # share of the side
NOISE = 0.03
BEST_JPEG, WORSE_JPEG, LOWEST_JPEG = 90, 40, 10
READ, READABLE = 240, 0.5
PixelArray = NDArray[np.float64]


class DegradedScenes(Scenes):
    """The embedded world's scenes with the light, blur, noise and compression of photographs."""

    class Config(Scenes.Config):
        """``strength``: scale of all degradations (1: like a small photograph); ``seed``: draws them anew."""

        strength: PositiveFloat = 1.0
        seed: NonNegativeInt = 0

    def __init__(self, scenes: SceneSet, strength: float, seed: int) -> None:
        super().__init__(scenes)
        self.strength, self.seed = strength, seed

    @classmethod
    def build(cls, config: Config, context: Context) -> DegradedScenes:  # type: ignore[override]
        source = cls(
            training_scenes(context.world, context.train_scenes, context.resolution), config.strength, config.seed
        )
        if source.readable < READABLE:
            raise ValueError(
                f"source.strength={config.strength:g} leaves {source.readable:.0%} of the scenes readable, so that "
                "captions would tell what nobody can see; lower it"
            )
        return source

    @property
    def name(self) -> str:
        return f"{self.scenes.name}/degraded {self.strength:g} seed {self.seed}"

    def image(self, index: int) -> UInt8[Tensor, "3 s s"]:
        clean = super().image(index).permute(1, 2, 0).numpy()
        rng = np.random.default_rng([self.seed, index, 71])
        return torch.from_numpy(degrade(clean, self.strength, rng)).permute(2, 0, 1).contiguous()

    def batches(self, size: int) -> Iterator[Float[Tensor, "b 3 s s"]]:
        for begin in range(0, len(self), size):
            shown = [self.image(index) for index in range(begin, min(begin + size, len(self)))]
            yield torch.stack(shown).float() / 255

    def parts(self) -> list[dict[str, Any]]:
        return [{"name": self.name, "samples": len(self), "readable": self.readable}]

    @cached_property
    def readable(self) -> float:
        """Share of the first images on which the judge finds what the short caption names."""
        count = min(READ, len(self))
        right = 0
        for index in range(count):
            image = np.ascontiguousarray(self.image(index).permute(1, 2, 0).numpy())
            found = to_objects(detect(image, self.scenes.world))
            right += bool(evaluate_image(found, self.scenes.samples[index].metadata)[0])
        return right / count


def degrade(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image ``[s, s, 3]`` as taken by a camera; every amount is drawn between half of its largest and that."""
    amounts = strength * rng.uniform(0.5, 1, size=5)
    side = len(image)
    seen = image / 255 + TEXTURE * amounts[0] * _texture(side, rng)[..., None]
    seen = seen * _light(side, amounts[1], rng) * (1 + TINT * strength * rng.uniform(-1, 1, size=3))
    seen = ndimage.gaussian_filter(seen, (BLUR * amounts[2] * side,) * 2, axes=(0, 1))
    seen = seen + NOISE * amounts[3] * rng.standard_normal(seen.shape)
    quality = max(BEST_JPEG - WORSE_JPEG * amounts[4], LOWEST_JPEG)
    return _compressed(np.round(seen.clip(0, 1) * 255).astype(np.uint8), round(quality))


def _texture(side: int, rng: np.random.Generator) -> PixelArray:
    """Grain of mean 0 and deviation 1, a sixteenth of the image coarse."""
    grain = ndimage.gaussian_filter(rng.standard_normal((side, side)), side / 32, mode="wrap")
    return np.asarray((grain - grain.mean()) / grain.std())


def _light(side: int, amount: float, rng: np.random.Generator) -> PixelArray:
    """Brightness that falls evenly across the image in a random direction, ``[s, s, 1]``, 1 in the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    places = (np.arange(side) + 0.5) / side * 2 - 1
    across = (np.cos(angle) * places[None, :] + np.sin(angle) * places[:, None]) / np.sqrt(2)
    return np.asarray(1 + GRADIENT * amount * across)[..., None]


def _compressed(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The image after JPEG with that quality."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream), dtype=np.uint8)
