"""R-precision: how often an image lies closer to its own prompt than to every one of R distractors (Xu et al. 2018).

Unlike a mean cosine, it does not move with the tone of all images, and its chance level 1 / (R + 1) is known. The
distractors depend on the seed and the prompt's number only, so that every arm meets the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

DISTRACTORS = 99


class Retrieval(NamedTuple):
    """Share of images nearest to their own prompt, the share by chance, the number of images, and each image's hit."""

    value: float
    chance: float
    n: int
    items: tuple[bool, ...]


def r_precision(
    images: Float64[np.ndarray, "n e"],
    prompts: Float64[np.ndarray, "p e"],
    own: Sequence[int],
    seed: int,
    distractors: int = DISTRACTORS,
) -> Retrieval:
    """R-precision of images by the cosine of their embeddings with those of prompts.

    ``own[i]`` is the row in ``prompts`` of image i's own prompt. A tie with a distractor is no hit. Raises ValueError
    if there are too few prompts, or if two are equal, for then an image could not be told to belong to one of them.
    """
    if len(prompts) <= distractors:
        raise ValueError(f"{distractors} distractors need more than {len(prompts)} distinct prompts: lower the number")
    if len(np.unique(prompts, axis=0)) < len(prompts):
        raise ValueError("two prompts have equal embeddings: give each distinct prompt once")
    cosines = _normalised(images) @ _normalised(prompts).T
    hits = tuple(
        bool(row[number] > row[_distractors(number, len(prompts), distractors, seed)].max())
        for row, number in zip(cosines, own, strict=True)
    )
    return Retrieval(float(np.mean(hits)), 1 / (distractors + 1), len(hits), hits)


def _distractors(own: int, prompts: int, number: int, seed: int) -> Int64[np.ndarray, " r"]:
    """Rows of other prompts, drawn without replacement."""
    drawn: np.ndarray = np.random.default_rng([seed, own]).choice(prompts - 1, size=number, replace=False)
    return drawn + (drawn >= own)


def _normalised(rows: Float64[np.ndarray, "n e"]) -> Float64[np.ndarray, "n e"]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
