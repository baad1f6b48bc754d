"""Distances between two sets of features, in float64: the Fréchet distance, the kernel distance, and their small print.

The Fréchet distance of the two sets' Gaussians (Heusel et al. 2017) is

    |mean_x - mean_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2),   tr (S_x S_y)^(1/2) = ||X_c Y_c^T||_*

with X_c the centred rows over sqrt(n - 1). The nuclear norm needs no matrix square root, so it is exact for fewer
samples than dimensions, where the square root of a singular product is not. The distance is biased upwards in small
samples, by an amount that depends on the covariance; the kernel distance (Binkowski et al. 2018), an unbiased estimate
of the squared MMD, is not. Neither is to be bootstrapped over images: duplicates add the bias a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, Shaped

BIASED_BELOW = 10  # samples per dimension
BLOCK = 1024  # rows of a kernel matrix that are in memory at a time


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
