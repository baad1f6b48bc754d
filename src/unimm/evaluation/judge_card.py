"""The judge's own report: how often it reads shape, colour and number rightly from images whose content is known.

A score by the scenes' judge holds the judge's mistakes as well as the model's, and if it errs more on one encoder's
images than on another's, arms seem to differ that do not. So real scenes are judged as rendered, as the run's encoder
and decoder give them back, and damaged by blur and noise of known strength (which tests of metrics use as well). An
object's reading is the most certain detection whose centre lies in its box; objects never touch, so that no detection
has two of them. What is lost on reconstructions is the judge's loss and the decoder's together: clean and damaged
images show how much of it the judge alone can explain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from scipy import ndimage
from torch import Tensor

from unimm.evaluation.metrics.geneval import find_objects
from unimm.scenes.judge import Detection
from unimm.scenes.world import Item, Scene, World

NOTHING = "nothing"
IMAGES = 240
# Shares of the width and of the range: the lighter ones should cost a sound judge little, the heavier ones a lot.
BLURS, NOISES = (1 / 32, 1 / 16), (0.1, 0.2)


def blur(images: UInt8[Tensor, "m 3 h w"], strength: float) -> UInt8[Tensor, "m 3 h w"]:
    """A Gaussian blur whose deviation is that share of the width."""
    deviation = strength * images.shape[-1]
    blurred = ndimage.gaussian_filter(images.numpy().astype(np.float32), (0, 0, deviation, deviation))
    return torch.from_numpy(blurred.round().astype(np.uint8))


def noise(images: UInt8[Tensor, "m 3 h w"], strength: float) -> UInt8[Tensor, "m 3 h w"]:
    """Gaussian noise whose deviation is that share of the range; the same values for images of the same shape."""
    drawn = np.random.default_rng(0).normal(0, 255 * strength, tuple(images.shape))
    return torch.from_numpy((images.numpy() + drawn).clip(0, 255).round().astype(np.uint8))


class ConfusionMatrix(NamedTuple):
    """How often each true value was read as each value; ``nothing`` where no detection lay on the object."""

    confusion: Counter[tuple[str, str]]

    @property
    def accuracy(self) -> float:
        """Share that was read rightly."""
        right = sum(count for (true, read), count in self.confusion.items() if true == read)
        return right / self.confusion.total()


@dataclass(frozen=True)
class View:
    """The judge on one kind of images: shapes and colours of objects, their number, and surplus objects an image."""

    shape: ConfusionMatrix
    colour: ConfusionMatrix
    count: ConfusionMatrix
    surplus: float


def judge_card(
    scenes: Sequence[Scene], images: Mapping[str, UInt8[Tensor, "m 3 s s"]], world: World
) -> dict[str, View]:
    """The card of ``images``, which show the scenes (``real`` as rendered), and of damaged ``real`` ones."""
    count = min(IMAGES, len(scenes))
    chosen = [number * len(scenes) // count for number in range(count)]
    kept = [scenes[number] for number in chosen]
    shown = {name: batch[chosen] for name, batch in images.items()}
    shown |= {f"blur {strength:.0%}": blur(shown["real"], strength) for strength in BLURS}
    shown |= {f"noise {strength:.0%}": noise(shown["real"], strength) for strength in NOISES}
    return {name: view(kept, find_objects(batch, world), batch.shape[-1]) for name, batch in shown.items()}


def view(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], side: int) -> View:
    """Every scene's objects against what the judge found on its image, ``side`` pixels wide."""
    read = [
        (item, _on(item, detections, side))
        for scene, detections in zip(scenes, found, strict=True)
        for item in scene.items
    ]
    surplus = sum(map(len, found)) - sum(detection is not None for _, detection in read)
    return View(
        shape=_reading((item.shape, detection.shape if detection else NOTHING) for item, detection in read),
        colour=_reading((item.colour, detection.colour if detection else NOTHING) for item, detection in read),
        count=_reading((str(len(s.items)), str(len(f))) for s, f in zip(scenes, found, strict=True)),
        surplus=surplus / len(scenes),
    )


def _on(item: Item, detections: Sequence[Detection], side: int) -> Detection | None:
    """The first, which is the most certain, detection whose centre lies in the item's box."""
    left, top, right, bottom = (edge * side for edge in item.box)
    for detection in detections:
        x1, y1, x2, y2 = detection.box
        if left <= (x1 + x2) / 2 <= right and top <= (y1 + y2) / 2 <= bottom:
            return detection
    return None


def _reading(pairs: Iterable[tuple[str, str]]) -> ConfusionMatrix:
    return ConfusionMatrix(Counter(pairs))


def as_result(card: Mapping[str, View]) -> dict[str, Any]:
    """The ``judge_card`` of result.json."""
    return {
        "images": card["real"].count.confusion.total(),
        "views": {
            name: {
                **{facet: _as_result(getattr(view, facet)) for facet in ("shape", "colour", "count")},
                "surplus": view.surplus,
            }
            for name, view in card.items()
        },
    }


def _as_result(reading: ConfusionMatrix) -> dict[str, Any]:
    rows: dict[str, dict[str, int]] = {}
    for (true, read), count in sorted(reading.confusion.items()):
        rows.setdefault(true, {})[read] = count
    return {"accuracy": reading.accuracy, "confusion": rows}
