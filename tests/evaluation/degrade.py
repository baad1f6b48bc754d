"""Damage to uint8 images ``[n, 3, size, size]``, from a level of 0 (none) to 1, the same whenever it is repeated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unimm.evaluation import judge_card
from unimm.evaluation.metrics.geneval import find_objects
from unimm.scenes.world import World


def blur(images: Tensor, level: float) -> Tensor:
    """A Gaussian blur with a deviation of up to an eighth of the image."""
    return judge_card.blur(images, level / 8)


def noise(images: Tensor, level: float) -> Tensor:
    """Gaussian noise with a deviation of up to half of the range."""
    return judge_card.noise(images, level / 2)


def swap_colours(images: Tensor, level: float) -> Tensor:
    """Red, green and blue change places on a share of the images."""
    swapped = images.clone()
    number = round(level * len(images))
    swapped[:number] = images[:number, [1, 2, 0]]
    return swapped


def drop_objects(images: Tensor, level: float, world: World) -> Tensor:
    """Every object that the judge finds is painted over on a share of the images."""
    dropped = images.clone()
    part = dropped[: round(level * len(images))]
    for image, detections in zip(part, find_objects(part, world) if len(part) else [], strict=True):
        background = image.flatten(1).median(dim=1).values
        for found in detections:
            left, top, right, bottom = np.array(found.box).round().astype(int)
            image[:, max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = background[:, None, None]
    return dropped


def repeat_first(images: Tensor, level: float) -> Tensor:
    """A share of the images become copies of the first, as in a collapsed arm."""
    repeated = images.clone()
    repeated[: round(level * len(images))] = images[0]
    return repeated


def stack(renders: list[np.ndarray]) -> Tensor:
    """Renders ``[size, size, 3]`` as one batch."""
    return torch.from_numpy(np.stack(renders)).permute(0, 3, 1, 2).contiguous()
