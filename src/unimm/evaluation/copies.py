"""Whether images are copies: of what was trained on, or of one another.

Distances, density and coverage all reward a model that plays back its training images. The two-sample test of Meehan
et al. (2020) for that needs no threshold: of equally many training images and images that training never saw, which is
nearer? Of an image that copies neither, either is as likely (0.5); a share above that of real images of the same
prompts means copying. A sample of the training set stands for it, so that copies of the rest are seen only in part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.spatial.distance import cdist
from torch import Tensor


def nearer_training(
    features: Float64[np.ndarray, "n d"], training: Float64[np.ndarray, "t d"], unseen: Float64[np.ndarray, "u d"]
) -> list[float]:
    """For each image 1 if a training image is nearest, 0 if an unseen one is; of the longer set the first are used."""
    size = min(len(training), len(unseen))
    to_training, to_unseen = (cdist(features, rows[:size]).min(axis=1) for rows in (training, unseen))
    return [float(near) for near in to_training < to_unseen]


def identical_to_others(images: UInt8[Tensor, "m 3 h w"], prompts: Sequence[str]) -> list[float]:
    """For each image 1 if one of another prompt is equal to it bit by bit."""
    shown = [image.numpy().tobytes() for image in images]
    prompts_of: dict[bytes, set[str]] = {}
    for content, prompt in zip(shown, prompts, strict=True):
        prompts_of.setdefault(content, set()).add(prompt)
    return [float(len(prompts_of[content]) > 1) for content in shown]
