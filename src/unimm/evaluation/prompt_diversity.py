"""Diversity of the images of one prompt, wherever it comes from: the noise of the latents, of the decoder, or both.

Three views (`unimm.evaluation.open_factors`, `unimm.evaluation.diversity`): entropy and coverage of what the prompt
leaves open, among correct images and relative to the world's own scenes; the Vendi score of all images; and, exactly,
whether all images of every prompt are equal bit by bit, which a deterministic arm's must be when only the noise of
its latents changes.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.evaluation.diversity import identical_images, vendi_within_prompts
from unimm.evaluation.image_distance import features_of
from unimm.evaluation.images import at_resolution, noted_resize
from unimm.evaluation.judging import find_objects, judge
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.open_factors import open_factor_diversity
from unimm.evaluation.standard_error import clustered
from unimm.foundation.load import Foundation
from unimm.scenes.prompts import Metadata


class PromptDiversity(Metric):
    """Entropy and coverage of open factors, Vendi score, and whether images are identical, by source of the noise."""

    class Config(ComponentConfig):
        """Nothing to set."""

    needs = frozenset({"varied", "varied_prompts", "reference"})

    def __init__(self, config: Config, foundation: Foundation) -> None:
        self.config, self.foundation = config, foundation

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.varied is not None and evidence.varied_prompts is not None and evidence.reference is not None
        extractor, side = self.foundation.features(), self.foundation.trained_at
        reference = features_of(extractor, at_resolution(evidence.reference, side))
        prompts, scores = list(evidence.varied_prompts), []
        for source, images in evidence.varied.items():
            prefix, count = f"diversity/{source}", images.shape[:2].numel()
            protocol = {"varied": source, "prompts": len(prompts), "images per prompt": images.shape[1]}
            scores += self._open_factors(prefix, images, prompts, protocol)
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
