"""Distances of generated to real images in the foundation's own features, how many real ones they cover, and copies.

The distances are called FD and KD, never FID and KID: only Inception features make those
(`unimm.evaluation.metrics.fid`). Below n = 10 d the Fréchet distance is biased upwards; the protocol then says so and
states the bias that two sets of that size would have by chance. Density and coverage (Naeem et al. 2020) tell apart
what one distance mixes: how close images are to real ones, and how many kinds of real ones are among them; both depend
on the numbers of images.

All of these reward a model that plays back its training images, so copies are looked for as well. The two-sample test
of Meehan et al. (2020) needs no threshold: of equally many training images and images that training never saw, which
is nearer? Of an image that copies neither, either is as likely (0.5); a share above that of real images of the same
prompts means copying. A sample of the training set stands for it, so that copies of the rest are seen only in part.

Standard errors leave out groups of prompts (`unimm.evaluation.statistics.group_jackknife`), never single images. A
prompt is here one entry of the test and its images, which stand together. A small world asks the same text several
times; to leave out a text everywhere would take a kind of image out of the set, which no other draw of prompts does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Integer, UInt8
from scipy.spatial.distance import cdist
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.features import FeatureExtractor
from unimm.evaluation.images import at_resolution, fingerprint, resize_to
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.statistics import (
    NEIGHBOURS,
    clustered,
    coverage,
    density,
    frechet_bias,
    frechet_distance,
    group_jackknife,
    inside_balls,
    is_biased,
    kernel_distance,
)
from unimm.foundation.folder import Foundation
from unimm.progress import progress

BATCH = 256
JACKKNIFE = "jackknife over shuffled groups of the test's prompts"


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


@torch.inference_mode()
def features_of(extractor: FeatureExtractor, images: UInt8[Tensor, "m 3 s s"]) -> Float64[np.ndarray, "m d"]:
    """Features of images, extracted in float32 and returned in float64."""
    begins = progress(range(0, len(images), BATCH), "features", "batch")
    parts = [extractor(images[begin : begin + BATCH].float() / 255) for begin in begins]
    return torch.cat(parts).double().numpy()


def entries(captions: Sequence[str]) -> Integer[np.ndarray, " n"]:
    """The number of each image's entry of the test: images in a row with the same text are one entry's."""
    begins = [a != b for a, b in pairwise(captions)]
    return np.cumsum([0, *begins])


class ImageDistance(Metric):
    """Fréchet and kernel distance to real images, density and coverage, in the foundation's features."""

    class Config(ComponentConfig):
        """Nothing to set: the extractor belongs to the foundation."""

    needs = frozenset({"images", "reference"})
    families = frozenset({"frechet_distance", "kernel_distance", "density", "coverage", "copies"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.foundation = config, foundation
        self._known: list[tuple[Tensor, Float64[np.ndarray, "r d"]]] = []

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None and evidence.reference is not None
        features, real = self._features(evidence.images), self._kept(evidence.reference)
        n, width = features.shape
        captions = evidence.captions or [str(number) for number in range(n)]
        prompts = entries(captions)
        protocol = self._protocol(evidence.images, evidence.reference)

        def measured(name: str, measure: Callable[[Any], float], rows: np.ndarray, **details: object) -> Score:
            error = group_jackknife(measure, rows, prompts) if prompts.any() else None
            return Score(name, measure(rows), n, protocol | {"stderr": JACKKNIFE} | details, stderr=error)

        def counted(name: str, items: list[float], **details: object) -> Score:
            return Score(name, float(np.mean(items)), n, protocol | details, items, clustered(items, captions))

        biased = {"biased": is_biased(n, width), "expected bias": frechet_bias(n, len(real), np.cov(real.T))}
        inside = inside_balls(features, real)
        scores = [
            measured("frechet_distance", lambda rows: frechet_distance(rows, real), features, **biased),
            measured("kernel_distance", lambda rows: kernel_distance(rows, real), features),
            measured("density", density, inside, neighbours=NEIGHBOURS),
            measured("coverage", coverage, inside, neighbours=NEIGHBOURS),
            counted("copies/identical", identical_to_others(evidence.images, captions), of="images of other prompts"),
        ]
        if evidence.training is not None:
            nearer = nearer_training(features, self._kept(evidence.training), real)
            used = f"{min(len(evidence.training), len(real))} training images, sha256 {fingerprint(evidence.training)}"
            scores.append(counted("copies/nearer_training", nearer, against=used, chance=0.5))
        return scores

    def _protocol(self, images: Tensor, reference: Tensor) -> dict[str, Any]:
        return {
            "extractor": self.foundation.fingerprint("features"),
            "reference": f"{len(reference)} real images, sha256 {fingerprint(reference)}",
            "resize": resize_to(images, self.foundation.trained_at),
            "dtype": "features float32, distance float64",
        }

    def _features(self, images: UInt8[Tensor, "m 3 h w"]) -> Float64[np.ndarray, "m d"]:
        return features_of(FeatureExtractor.of(self.foundation), at_resolution(images, self.foundation.trained_at))

    def _kept(self, images: UInt8[Tensor, "r 3 h w"]) -> Float64[np.ndarray, "r d"]:
        """Features of images that are asked for again: the reference of a run's images, floors and ceilings."""
        for known, features in self._known:
            if known is images:
                return features
        self._known.append((images, self._features(images)))
        return self._known[-1][1]
