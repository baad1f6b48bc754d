"""Diversity of images in a feature space: the Vendi score within prompts, density and coverage against real images.

The Vendi score (Friedman and Dieng 2023) of a kernel matrix K with ones on its diagonal is the effective number of
different images, exp(-sum l log l) over the eigenvalues l of K / n: 1 for n identical images, n for n orthogonal ones.
The kernel here is the cosine of features less the mean of a reference, the same for every arm: without that, pooled
features all point one way and every set looks alike. The score grows with n, so K images of each prompt are compared
with K of another arm. Density and coverage are those of Naeem et al. 2020; both reward a copy of the training set.

An arm that is deterministic by construction has the least diversity there is. That is an exact fact, which
`identical_images` states, and no estimate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.spatial.distance import cdist
from scipy.special import entr
from torch import Tensor

IMAGES_PER_PROMPT = 8
NEIGHBOURS = 5


class Vendi(NamedTuple):
    """Mean Vendi score of the prompts (from 1 to K), the number of images, and each prompt's own score."""

    value: float
    n: int
    prompts: tuple[float, ...]


class DensityCoverage(NamedTuple):
    """Density (about 1 for two samples of one distribution) and coverage (0 to 1) of n images against m real ones."""

    density: float
    coverage: float
    n: int
    m: int


class Identical(NamedTuple):
    """Whether the images of every prompt are all the same, the number of images, and the same of each prompt."""

    everywhere: bool
    n: int
    prompts: tuple[bool, ...]


def vendi_score(kernel: Float64[np.ndarray, "n n"]) -> float:
    """Vendi score of a symmetric positive semi-definite kernel matrix with ones on its diagonal."""
    eigenvalues = np.linalg.eigvalsh(kernel / len(kernel)).clip(min=0)
    return float(np.exp(entr(eigenvalues).sum()))


def vendi_within_prompts(features: Float64[np.ndarray, "p k d"], reference: Float64[np.ndarray, "r d"]) -> Vendi:
    """Vendi score of each prompt's K images, whether correct or not, and its mean.

    Raises ValueError with fewer than eight images of a prompt.
    """
    check_images_per_prompt(features.shape[1])
    centred = features - reference.mean(axis=0)
    directions = centred / np.linalg.norm(centred, axis=2, keepdims=True)
    scores = tuple(vendi_score(rows @ rows.T) for rows in directions)
    return Vendi(float(np.mean(scores)), features.shape[0] * features.shape[1], scores)


def density_coverage(
    features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"], neighbours: int = NEIGHBOURS
) -> DensityCoverage:
    """Density and coverage by balls around real images that reach to their k-th nearest real neighbour.

    Density is the mean number of balls that hold an image, over k; coverage the share of balls that hold any. Both
    depend on n, m and k. Raises ValueError unless there are more real images than neighbours.
    """
    inside = inside_balls(features, reference, neighbours)
    return DensityCoverage(density(inside, neighbours), coverage(inside), len(features), len(reference))


def inside_balls(
    features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"], neighbours: int = NEIGHBOURS
) -> Bool[np.ndarray, "n m"]:
    """Which images lie within which real images' balls; raises ValueError with too few real images."""
    if len(reference) <= neighbours:
        raise ValueError(f"{len(reference)} real images have no {neighbours} neighbours each: give more")
    radii = np.partition(cdist(reference, reference), neighbours, axis=1)[:, neighbours]
    return np.asarray(cdist(features, reference) < radii)


def density(inside: Bool[np.ndarray, "n m"], neighbours: int = NEIGHBOURS) -> float:
    """Mean number of balls that hold an image, over the number of neighbours."""
    return float(inside.sum(axis=1).mean() / neighbours)


def coverage(inside: Bool[np.ndarray, "n m"]) -> float:
    """Share of balls that hold any image."""
    return float(inside.any(axis=0).mean())


def identical_images(images: UInt8[Tensor, "p k c h w"]) -> Identical:
    """Whether the K images of each prompt are equal to the bit.

    Raises ValueError with fewer than eight images of a prompt.
    """
    check_images_per_prompt(images.shape[1])
    prompts = tuple((images == images[:, :1]).flatten(1).all(dim=1).tolist())
    return Identical(all(prompts), images.shape[0] * images.shape[1], prompts)


def check_images_per_prompt(number: int) -> None:
    """ValueError if there are fewer images of a prompt than a statement on its diversity needs."""
    if number < IMAGES_PER_PROMPT:
        raise ValueError(f"diversity needs at least {IMAGES_PER_PROMPT} images of each prompt, not {number}")
