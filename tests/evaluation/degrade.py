"""Damage to uint8 images ``[n, size, size, 3]``, from a level of 0 (none) to 1, the same whenever it is repeated."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from unimm.scenes.judge import detect
from unimm.scenes.world import World


def blur(images: np.ndarray, level: float) -> np.ndarray:
    """A Gaussian blur with a deviation of up to a tenth of the image."""
    sigma = level * images.shape[1] / 10
    return ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)).round().astype(np.uint8)


def noise(images: np.ndarray, level: float) -> np.ndarray:
    """Gaussian noise with a deviation of up to half of the range."""
    drawn = np.random.default_rng(0).normal(0, 127 * level, images.shape)
    return (images + drawn).clip(0, 255).round().astype(np.uint8)


def swap_colours(images: np.ndarray, level: float) -> np.ndarray:
    """Red, green and blue change places on a share of the images."""
    swapped = images.copy()
    number = round(level * len(images))
    swapped[:number] = images[:number, :, :, [1, 2, 0]]
    return swapped


def drop_objects(images: np.ndarray, level: float, world: World) -> np.ndarray:
    """Every object that the judge finds is painted over on a share of the images."""
    dropped = images.copy()
    for image in dropped[: round(level * len(images))]:
        background = np.median(image.reshape(-1, 3), axis=0)
        for found in detect(image, world):
            left, top, right, bottom = np.array(found.box).round().astype(int)
            image[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = background
    return dropped


def repeat_first(images: np.ndarray, level: float) -> np.ndarray:
    """A share of the images become copies of the first, as in a collapsed arm."""
    repeated = images.copy()
    repeated[: round(level * len(images))] = images[0]
    return repeated
