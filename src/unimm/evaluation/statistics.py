"""Statistics of images' features and of scores: distances, diversity, and standard errors, in float64.

Distances of two sets of features. The Fréchet distance of the sets' Gaussians (Heusel et al. 2017) is

    |mean_x - mean_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2),   tr (S_x S_y)^(1/2) = ||X_c Y_c^T||_*

with X_c the centred rows over sqrt(n - 1). The nuclear norm needs no matrix square root, so it is exact for fewer
samples than dimensions, where the square root of a singular product is not. The distance is biased upwards in small
samples, by an amount that depends on the covariance; the kernel distance (Binkowski et al. 2018), an unbiased estimate
of the squared MMD, is not. Neither is to be bootstrapped over images: duplicates add the bias a second time.

Diversity. The Vendi score (Friedman and Dieng 2023) of a kernel matrix K with ones on its diagonal is the effective
number of different images, exp(-sum l log l) over the eigenvalues l of K / n: 1 for n identical images, n for n
orthogonal ones. The kernel here is the cosine of features less the mean of a reference, the same for every arm: without
that, pooled features all point one way and every set looks alike. The score grows with n, so K images of each prompt
are compared with K of another arm. Density and coverage are those of Naeem et al. 2020; both reward a copy of the
training set. An arm that is deterministic by construction has the least diversity there is, which is an exact fact
(`identical_images`) and no estimate.

Standard errors are over prompts, since images of one prompt are no independent measurements. A mean, or a mean of K
parts' means (as GenEval's overall score is), is a sum of what each image contributes to it,

    u_i = sum over the parts k that image i belongs to of (x_ki - mean_k) / (K n_k),

and its standard error adds up what the G clusters (prompts) contribute: SE^2 = G / (G - 1) sum_c (sum_{i in c} u_i)^2
(Liang and Zeger 1986; Miller 2024, arXiv 2411.00640). With one image a prompt and one part that is s / sqrt(n). It is
about other prompts of the kind and other noise, with this one trained model: it says nothing of other training seeds,
on which verdicts rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Integer, Shaped, UInt8
from scipy.spatial.distance import cdist
from scipy.special import entr
from torch import Tensor

BIASED_BELOW = 10  # samples per dimension
BLOCK = 1024  # rows of a kernel matrix that are in memory at a time
IMAGES_PER_PROMPT = 8
NEIGHBOURS = 5


def frechet_distance(features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"]) -> float:
    """Fréchet distance of two sets of features, not clipped: rounding may leave a value of -1e-12 for equal sets.

    Raises ValueError if the widths differ or a set has fewer than two rows.
    """
    _check(features, reference)
    # X_c = Q_x R_x and Y_c = Q_y R_y give the nuclear norm of R_x R_y^T, which is d x d however many rows there are.
    left, right = _centred_factor(features), _centred_factor(reference)
    overlap = np.linalg.norm(left @ right.T, ord="nuc")
    shift = features.mean(axis=0) - reference.mean(axis=0)
    return float((shift**2).sum() + (left**2).sum() + (right**2).sum() - 2 * overlap)


def kernel_distance(features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"]) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, over all pairs of rows: KID without its random subsets.

    Raises ValueError if the widths differ or a set has fewer than two rows.
    """
    _check(features, reference)
    n, m = len(features), len(reference)
    within = [
        (_kernel_sum(rows, rows) - _kernel((rows**2).sum(axis=1), rows.shape[1]).sum()) / (len(rows) * (len(rows) - 1))
        for rows in (features, reference)
    ]
    return float(within[0] + within[1] - 2 * _kernel_sum(features, reference) / (n * m))


def frechet_bias(n: int, m: int, covariance: Float64[np.ndarray, "d d"]) -> float:
    """Expected Fréchet distance of n and m samples of one and the same Gaussian, to first order in 1/n and 1/m.

    (1/n + 1/m) (tr S + 1/2 sum_ij (1 + [i = j]) l_i l_j / (l_i + l_j)) with the eigenvalues l of S; for the identity
    that is (1/n + 1/m) (d + d (d + 1) / 4). A collapsed arm has smaller eigenvalues and thereby a smaller bias.
    """
    values = np.linalg.eigvalsh(covariance).clip(min=0)
    sums = values[:, None] + values
    products = np.outer(values, values) * (1 + np.eye(len(values)))
    ratios = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1 / n + 1 / m) * (values.sum() + ratios.sum() / 2))


def is_biased(n: int, d: int) -> bool:
    """Whether n samples are too few for a Fréchet distance in d dimensions (n < 10 d)."""
    return n < BIASED_BELOW * d


def group_jackknife(
    statistic: Callable[[Any], float],
    rows: Shaped[np.ndarray, "n d"],
    prompts: Integer[np.ndarray, " n"],
    groups: int = 16,
) -> float | None:
    """Standard error of a statistic of rows (one an image) within one run: G groups of prompts, each left out once.

    sqrt((G - 1) / G sum_g (t_g - mean t)^2). It says nothing of other training seeds, so it is a diagnostic and no
    ground for a verdict. Prompts are dealt to equal groups as by shuffled cards, since neighbours are of one task. None
    where fewer than two rows would be left, as no distance could be taken of them. Raises ValueError with fewer than
    two prompts.
    """
    _, order = np.unique(prompts, return_inverse=True)
    count = int(order.max()) + 1
    number = min(groups, count)
    if number < 2:
        raise ValueError("a jackknife leaves out groups of prompts: give images of at least two prompts")
    dealt = np.random.default_rng(0).permutation(count)[order] % number
    left = [dealt != group for group in range(number)]
    if min(kept.sum() for kept in left) < 2:
        return None
    left_out = np.array([statistic(rows[kept]) for kept in left])
    return float(np.sqrt((number - 1) * left_out.var()))


def _check(features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"]) -> None:
    if features.shape[1] != reference.shape[1]:
        raise ValueError(
            f"features of width {features.shape[1]} against a reference of width {reference.shape[1]}: "
            "take both from the same extractor"
        )
    if min(len(features), len(reference)) < 2:
        raise ValueError(f"{len(features)} features, {len(reference)} references: a distance needs at least two each")


def _centred_factor(rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "k d"]:
    """R with R^T R the covariance of the rows."""
    return np.linalg.qr((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)).R


def _kernel(products: Float64[np.ndarray, "*shape"], d: int) -> Float64[np.ndarray, "*shape"]:
    return (products / d + 1) ** 3


def _kernel_sum(left: Float64[np.ndarray, "n d"], right: Float64[np.ndarray, "m d"]) -> float:
    blocks = (left[begin : begin + BLOCK] @ right.T for begin in range(0, len(left), BLOCK))
    return float(sum(_kernel(block, left.shape[1]).sum() for block in blocks))


class Vendi(NamedTuple):
    """Mean Vendi score of the prompts (from 1 to K), the number of images, and each prompt's own score."""

    value: float
    n: int
    prompts: tuple[float, ...]


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


def inside_balls(
    features: Float64[np.ndarray, "n d"], reference: Float64[np.ndarray, "m d"], neighbours: int = NEIGHBOURS
) -> Bool[np.ndarray, "n m"]:
    """Which images lie within which real images' balls, that reach to their k-th nearest real neighbour.

    Density and coverage, taken from it, depend on n, m and k. Raises ValueError unless there are more real images than
    neighbours.
    """
    if len(reference) <= neighbours:
        raise ValueError(f"{len(reference)} real images have no {neighbours} neighbours each: give more")
    radii = np.partition(cdist(reference, reference), neighbours, axis=1)[:, neighbours]
    return np.asarray(cdist(features, reference) < radii)


def density(inside: Bool[np.ndarray, "n m"], neighbours: int = NEIGHBOURS) -> float:
    """Mean number of balls that hold an image, over the number of neighbours: about 1 for two samples of one kind."""
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


def clustered(items: Sequence[float | None], clusters: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of the items that are there; None with fewer than two clusters."""
    return clustered_mean([items], clusters)


def clustered_mean(parts: Sequence[Sequence[float | None]], clusters: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of the parts' means; each part has one item (or None) for every cluster label.

    None with fewer than two clusters, where a part has no item at all, and where no item varies: a score of exactly 0
    or 1 on a few images does not tell how far off it may be.
    """
    values = np.array(parts, dtype=float)
    there = ~np.isnan(values)
    if not there.any(axis=1).all():
        return None
    centred = (values - np.nanmean(values, axis=1, keepdims=True)) / there.sum(axis=1, keepdims=True)
    totals: dict[Hashable, float] = {}
    for cluster, share, measured in zip(clusters, np.nansum(centred, axis=0), there.any(axis=0), strict=True):
        if measured:
            totals[cluster] = totals.get(cluster, 0.0) + float(share) / len(parts)
    number, spread = len(totals), sum(total**2 for total in totals.values())
    # Equal items whose mean is rounded leave a spread of rounding errors.
    varies = bool((np.nanmax(values, axis=1) > np.nanmin(values, axis=1)).any())
    return float(np.sqrt(number / (number - 1) * spread)) if number > 1 and spread > 0 and varies else None
