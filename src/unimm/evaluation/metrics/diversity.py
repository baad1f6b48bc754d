"""Diversity of the images of one prompt, wherever it comes from: the noise of the latents, of the decoder, or both.

Three views: entropy and coverage of what the prompt leaves open, among correct images and relative to the world's own
scenes; the Vendi score of all images (`unimm.evaluation.statistics`); and, exactly, whether all images of every prompt
are equal bit by bit, which a deterministic arm's must be when only the noise of its latents changes.

"a photo of a red circle" leaves open where the circle stands and how large it is; "two squares" their colours as well.
The scenes' generator (`unimm.scenes.stream.compose`) gives the true prior of these factors for every kind of prompt.
For each object and factor the entropy and the number of distinct values among a prompt's n correct images are divided
by what n scenes from the prior have on average:

    E[entropy] = sum_v sum_c Binomial(c; n, p_v) (-c/n log c/n),   E[distinct] = sum_v 1 - (1 - p_v)^n

so that 1 means as diverse as the world, whatever n is, and 0 (entropy) means always the same. Objects of one clause
are told apart by their order from left to right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.special import entr
from scipy.stats import binom
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.features import FeatureExtractor
from unimm.evaluation.images import at_resolution, noted_resize
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.metrics.distance import features_of
from unimm.evaluation.metrics.geneval import find_objects, judge, unknown_to
from unimm.evaluation.statistics import check_images_per_prompt, clustered, identical_images, vendi_within_prompts
from unimm.foundation.folder import Foundation
from unimm.scenes.captions import place, size
from unimm.scenes.judge import Detection
from unimm.scenes.prompts import Metadata
from unimm.scenes.render import shape_mask
from unimm.scenes.stream import compose
from unimm.scenes.world import Item, World

FACTORS: dict[str, Callable[[Item], str]] = {"place": place, "size": size, "colour": lambda item: item.colour}
PRIOR_SCENES = 4000
Clause = tuple[int, bool, tuple[str, int] | None]  # count, whether a colour is named, position
Prior = dict[str, float]


class FactorSpread(NamedTuple):
    """One prompt's number of correct images, and their entropy and coverage over those of as many true scenes."""

    n: int
    entropy: float
    coverage: float


class FactorDiversity(NamedTuple):
    """Means over the prompts that could be measured, the number of correct images of those, and every prompt's own.

    ``prompts`` holds None, and the means are None if all do, where the factor is not open or fewer than two images
    are correct.
    """

    entropy: float | None
    coverage: float | None
    n: int
    prompts: tuple[FactorSpread | None, ...]


def open_factor_diversity(
    found: Sequence[Sequence[Sequence[Detection]]],
    correct: Sequence[Sequence[bool]],
    prompts: Sequence[Metadata],
    world: World,
    resolution: int,
) -> dict[str, FactorDiversity]:
    """Entropy and coverage by factor (place, size, colour), each relative to the prior.

    Prompts are of GenEval's six families. ``found[p][k]`` holds the judge's detections, most certain first, on image
    k of prompt p (square, ``resolution`` pixels a side), and ``correct[p][k]`` whether it was judged correct. Raises
    ValueError with fewer than eight images of a prompt.
    """
    measured: dict[str, list[FactorSpread | None]] = {factor: [] for factor in FACTORS}
    for images, right, metadata in zip(found, correct, prompts, strict=True):
        check_images_per_prompt(len(images))
        kept = [image for image, is_right in zip(images, right, strict=True) if is_right]
        scenes = [_objects(detections, metadata, resolution) for detections in kept]
        # The prior takes thousands of scenes to draw: only where there is something to hold against it.
        priors = scene_prior(world, _structure(metadata)) if len(scenes) > 1 else ()
        for factor, values in measured.items():
            values.append(_measure(factor, scenes, priors))
    return {factor: _summary(values) for factor, values in measured.items()}


@lru_cache(maxsize=256)
def scene_prior(world: World, structure: tuple[Clause, ...]) -> tuple[dict[str, Prior], ...]:
    """For each object that a prompt of this structure names: factor to (value to probability), from 4000 scenes."""
    include = [
        {"class": str(number), "count": count}
        | ({"color": world.colours[0]} if is_named else {})
        | ({"position": position} if position else {})
        for number, (count, is_named, position) in enumerate(structure)
    ]
    rng = np.random.default_rng(61)
    scenes: list[list[Item]] = []
    while len(scenes) < PRIOR_SCENES:
        scene = compose({"include": include}, world, rng)
        if scene is not None:
            names = [clause["class"] for clause in include]
            scenes.append(_in_order([[item for item in scene.items if item.shape == name] for name in names]))
    return tuple(
        {factor: _shares([value(item) for item in objects]) for factor, value in FACTORS.items()}
        for objects in zip(*scenes, strict=True)
    )


def _structure(metadata: Metadata) -> tuple[Clause, ...]:
    """What of a prompt its prior depends on: neither shapes nor the colours that it names."""
    return tuple(
        (clause["count"], "color" in clause, tuple(clause["position"]) if "position" in clause else None)
        for clause in metadata["include"]
    )


def _shares(values: Sequence[str]) -> Prior:
    return {value: count / len(values) for value, count in Counter(values).items()}


def _in_order(clauses: Sequence[Sequence[Item]]) -> list[Item]:
    return [item for items in clauses for item in sorted(items, key=lambda item: item.x)]


def _objects(detections: Sequence[Detection], metadata: Metadata, resolution: int) -> list[Item]:
    """The objects that made a correct image correct: of each clause the most certain, as GenEval takes them."""
    clauses = []
    for clause in metadata["include"]:
        own = [d for d in detections if d.shape == clause["class"]][: clause["count"]]
        assert len(own) == clause["count"], "an image with too few objects was judged correct"
        clauses.append([shown_item(detection, resolution) for detection in own])
    return _in_order(clauses)


def shown_item(detection: Detection, resolution: int) -> Item:
    """The item that a detection on a square image shows: the shape in its box need not fill the item's own box."""
    left, top, right, bottom = (edge / resolution for edge in detection.box)
    u, v, extent = _frame(detection.shape)
    radius = max(right - left, bottom - top) / 2 / extent
    x, y = (left + right) / 2 - u * radius, (top + bottom) / 2 - v * radius
    return Item(detection.shape, detection.colour, x, y, radius)


@lru_cache
def _frame(shape: str) -> tuple[float, float, float]:
    """Centre (u, v) and half of the longer side of a shape's bounding box, in units of the half-size."""
    axis = np.linspace(-1, 1, 401)
    rows, columns = np.nonzero(shape_mask(shape, *np.meshgrid(axis, axis)))
    (left, right), (top, bottom) = axis[[columns.min(), columns.max()]], axis[[rows.min(), rows.max()]]
    return float(left + right) / 2, float(top + bottom) / 2, float(max(right - left, bottom - top)) / 2


def _measure(factor: str, scenes: list[list[Item]], priors: tuple[dict[str, Prior], ...]) -> FactorSpread | None:
    """Entropy and coverage of a factor, summed over the objects for which it is open, over what the prior makes."""
    n = len(scenes)
    open_objects = [i for i, prior in enumerate(priors) if len(prior[factor]) > 1]
    if not open_objects:
        return None
    observed, expected = np.zeros(2), np.zeros(2)
    for i in open_objects:
        shares = _shares([FACTORS[factor](objects[i]) for objects in scenes])
        prior = priors[i][factor]
        observed += entr(list(shares.values())).sum(), len(shares.keys() & prior.keys())
        expected += expectation(n, np.array(list(prior.values())))
    entropy, coverage = observed / expected
    return FactorSpread(n, float(entropy), float(coverage))


def expectation(n: int, prior: Float64[np.ndarray, " v"]) -> tuple[float, float]:
    """Expected entropy (nats) and number of distinct values of n independent draws from a prior."""
    counts = np.arange(n + 1)
    entropy = (binom.pmf(counts, n, prior[:, None]) * entr(counts / n)).sum()
    return float(entropy), float((1 - (1 - prior) ** n).sum())


def _summary(prompts: Sequence[FactorSpread | None]) -> FactorDiversity:
    measured = [prompt for prompt in prompts if prompt is not None]
    if not measured:
        return FactorDiversity(None, None, 0, tuple(prompts))
    entropy = float(np.mean([prompt.entropy for prompt in measured]))
    coverage = float(np.mean([prompt.coverage for prompt in measured]))
    return FactorDiversity(entropy, coverage, sum(prompt.n for prompt in measured), tuple(prompts))


def _are_of(world: World, prompts: Sequence[Metadata]) -> bool:
    """Whether scenes of the world can fulfil the prompts."""
    if not all("include" in prompt for prompt in prompts) or unknown_to(world, prompts):
        return False
    return all(sum(clause["count"] for clause in prompt["include"]) <= world.max_items for prompt in prompts)


class PromptDiversity(Metric):
    """Entropy and coverage of open factors, Vendi score, and whether images are identical, by source of the noise."""

    class Config(ComponentConfig):
        """Nothing to set."""

    needs = frozenset({"varied", "varied_prompts", "reference"})
    families = frozenset({"diversity"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.foundation = config, foundation

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.varied is not None and evidence.varied_prompts is not None and evidence.reference is not None
        extractor, side = FeatureExtractor.of(self.foundation), self.foundation.trained_at
        reference = features_of(extractor, at_resolution(evidence.reference, side))
        prompts, scores = list(evidence.varied_prompts), []
        # What a prompt leaves open, and how the world would fill it, is known of the world's own prompts only.
        of_world = _are_of(self.foundation.world, prompts)
        for source, images in evidence.varied.items():
            prefix, count = f"diversity/{source}", images.shape[:2].numel()
            protocol = {"varied": source, "prompts": len(prompts), "images per prompt": images.shape[1]}
            scores += self._open_factors(prefix, images, prompts, protocol) if of_world else []
            flat = features_of(extractor, at_resolution(images.flatten(0, 1), side))
            vendi = vendi_within_prompts(flat.reshape(*images.shape[:2], -1), reference)
            protocol |= {"extractor": self.foundation.fingerprint("features"), "centre": "mean of the reference"}
            protocol |= noted_resize(images, side)
            error = clustered(vendi.prompts, range(len(prompts)))
            scores.append(Score(f"{prefix}/vendi", vendi.value, count, protocol, stderr=error))
            same = identical_images(images)
            exact = {"varied": source, "exact": "share of prompts whose images are all equal bit by bit"}
            share = sum(same.prompts) / len(same.prompts)
            scores.append(Score(f"{prefix}/identical", share, len(same.prompts), exact))
        return scores

    def _open_factors(
        self, prefix: str, images: UInt8[Tensor, "p k 3 h w"], prompts: list[Metadata], protocol: dict[str, Any]
    ) -> list[Score]:
        world, (number, count) = self.foundation.world, images.shape[:2]
        found = find_objects(images.flatten(0, 1), world)
        rows = judge(found, [metadata for metadata in prompts for _ in range(count)])
        groups = [slice(p * count, (p + 1) * count) for p in range(number)]
        factors = open_factor_diversity(
            [found[group] for group in groups],
            [[row.correct for row in rows[group]] for group in groups],
            prompts,
            world,
            images.shape[-1],
        )
        among = {**protocol, "among": "correct images", "relative to": "scenes of the world"}
        scores = []
        for factor, values in factors.items():
            for view in ("entropy", "coverage"):
                own = [None if prompt is None else getattr(prompt, view) for prompt in values.prompts]
                error = clustered(own, range(number))
                scores.append(Score(f"{prefix}/{factor}_{view}", getattr(values, view), values.n, among, stderr=error))
        return scores
