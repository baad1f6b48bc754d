"""Near-duplicate captions between two sets, by MinHash and locality-sensitive hashing, verified exactly.

Captions are sets of three-word shingles. The share of equal minima under random hashes estimates the Jaccard
similarity of two sets (Broder, 1997); captions that agree in a whole band of minima are compared exactly. With 32 bands
of 4, a pair of similarity 0.8 is found with probability 1 - (1 - 0.8^4)^32 > 0.9999.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

BANDS, ROWS, SHINGLE, VERIFIED = 32, 4, 3, 20
_RNG = np.random.default_rng(67)
_FACTORS = _RNG.integers(2**63, size=(BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RNG.integers(2**63, size=(BANDS * ROWS, 1), dtype=np.uint64)


class Duplicate(NamedTuple):
    """A caption of the second set and the most similar one of the first, with their Jaccard similarity."""

    other: int
    kept: int
    similarity: float


def words_of(text: str) -> list[str]:
    """Lower-case words, punctuation dropped."""
    return re.findall(r"\w+", text.lower())


def shingles(text: str) -> frozenset[int]:
    """Hashes of every three words in a row; of all words together where there are fewer."""
    words = words_of(text)
    windows = (words[begin : begin + SHINGLE] for begin in range(max(1, len(words) - SHINGLE + 1)))
    return frozenset(
        int.from_bytes(hashlib.blake2b(" ".join(window).encode(), digest_size=8).digest(), "big") for window in windows
    )


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Size of the intersection over size of the union."""
    return len(a & b) / len(a | b)


def signature(hashes: frozenset[int]) -> NDArray[np.uint32]:
    """The minimum of the set under each of 128 random hash functions (multiply-shift on 64 bits)."""
    values = np.fromiter(hashes, dtype=np.uint64)
    mixed = ((_FACTORS * values + _OFFSETS) >> np.uint64(32)).astype(np.uint32)
    return np.asarray(mixed.min(axis=1), dtype=np.uint32)


def near_duplicates(kept: Sequence[str], others: Sequence[str], threshold: float) -> list[Duplicate]:
    """For each of ``others`` that has one, the caption of ``kept`` at or above the similarity.

    Of very many candidates the 20 that agree in most bands are compared.
    """
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    sets = [shingles(text) for text in kept]
    for number, hashes in enumerate(tqdm(sets, desc="hashing captions", unit="caption")):
        for band in _bands(hashes):
            buckets[band].append(number)
    found = []
    for other, text in enumerate(tqdm(others, desc="comparing captions", unit="caption")):
        hashes = shingles(text)
        candidates = Counter(number for band in _bands(hashes) for number in buckets.get(band, ()))
        similar = [(jaccard(hashes, sets[number]), -number) for number, _ in candidates.most_common(VERIFIED)]
        best, number = max(similar, default=(0.0, 0))
        if best >= threshold:
            found.append(Duplicate(other, -number, best))
    return found


def _bands(hashes: frozenset[int]) -> list[tuple[int, bytes]]:
    rows = signature(hashes).reshape(BANDS, ROWS)
    return [(number, row.tobytes()) for number, row in enumerate(rows)]
