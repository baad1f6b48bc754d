"""The order of training: which sample stands at which position, a pure function of (seed, position).

A resumed run therefore needs no sampler state, and neither the number of workers nor of ranks changes what is seen.
Small sets are permuted by NumPy; large ones by a Feistel network, which finds any position without a table of all.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGE = 1 << 20
ROUNDS = 6


def batch_indices(seed: int, step: int, batch: int, size: int) -> Tensor:
    """Indices of global batch ``step`` (0-based) of the stream."""
    return stream_indices(seed, step * batch, (step + 1) * batch, size)


def stream_indices(seed: int, begin: int, end: int, size: int) -> Tensor:
    """Indices of positions ``begin`` to ``end``: position p lies in epoch p // size, freshly permuted."""
    return torch.from_numpy(permuted(seed, np.arange(begin, end), size))


def permuted(seed: int, positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Index of each position, in any number and order, of the stream over ``size`` samples."""
    indices = np.empty(len(positions), dtype=np.int64)
    for epoch in np.unique(positions // size).tolist():
        mask = positions // size == epoch
        within = positions[mask] % size
        indices[mask] = _table(seed, epoch, size)[within] if size <= LARGE else feistel(seed, epoch, within, size)
    return indices


@lru_cache(maxsize=16)
def _table(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(size)


def feistel(seed: int, epoch: int, positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """A keyed permutation of ``range(size)`` at some positions.

    Rounds of a balanced Feistel network permute the next power of four; values past ``size`` are permuted again until
    they fall below it (cycle walking; Black and Rogaway, 2002).
    """
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.random.Generator(np.random.Philox(key=[seed, epoch])).integers(2**63, size=ROUNDS).astype(np.uint64)
    values = positions.astype(np.uint64)
    walking = np.ones(len(values), dtype=bool)
    while walking.any():
        left, right = values[walking] >> half, values[walking] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        values[walking] = (left << half) | right
        walking = values >= size
    return values.astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every output bit depends on every input bit; products wrap around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
