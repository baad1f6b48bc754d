"""Fréchet distance through `torchmetrics`, in the foundation's own feature space.

It is called FD, never FID: only Inception features make a FID. Below n = 10 d the value is biased upwards and the
protocol says so.
"""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from unimm.foundation.features import FeatureExtractor


@torch.inference_mode()
def frechet_distance(
    extractor: FeatureExtractor, images: UInt8[Tensor, "m 3 s s"], reference: UInt8[Tensor, "r 3 s s"]
) -> float:
    """Distance between two sets of images, features in float32 and statistics in float64."""
    metric = FrechetInceptionDistance(feature=extractor)
    for real, batchset in ((True, reference), (False, images)):
        for begin in range(0, len(batchset), 256):
            metric.update(batchset[begin : begin + 256].float() / 255, real=real)
    return float(metric.compute())


def is_biased(extractor: FeatureExtractor, n: int) -> bool:
    """Whether n images are too few for this extractor's dimension (n < 10 d)."""
    return n < 10 * extractor.num_features
