"""Randomness as a pure function of (seed, stream, sample key, step): never of batch layout, worker or rank.

Every sample draws from its own counter-based generator (Philox), so that a batch split in any way, or resumed at any
step, sees the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NoiseSource:
    """Named noise; ``step`` makes a new draw for the same sample key."""

    seed: int
    stream: str
    step: int = 0

    def _generator(self, key: str | int) -> np.random.Generator:
        text = f"{self.seed}/{self.stream}/{self.step}/{key}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))

    def child(self, stream: str) -> NoiseSource:
        """An independent source for another use within the same step."""
        return NoiseSource(self.seed, f"{self.stream}/{stream}", self.step)

    def normal(self, keys: Sequence[str | int], shape: tuple[int, ...]) -> Float[Tensor, "batch ..."]:
        """Standard normal values ``[len(keys), *shape]`` on the CPU."""
        draws = [self._generator(key).standard_normal(shape, dtype=np.float32) for key in keys]
        return torch.from_numpy(np.stack(draws))

    def uniform(self, keys: Sequence[str | int]) -> Float[Tensor, " batch"]:
        """Uniform values in [0, 1), one for each key."""
        return torch.tensor([self._generator(key).random(dtype=np.float32) for key in keys])
