"""Ask the backbone about test images: one-word questions, whole descriptions, and both blind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unimm.data.examples import cached_latents
from unimm.data.scenes import SceneSet
from unimm.evaluation.answers import Answered, answer_logits, grade, questions_for
from unimm.evaluation.descriptions import Described, describe
from unimm.schema import RunConfig
from unimm.training.assemble import Arm

DESCRIBED = 100


def understanding_images(config: RunConfig, arm: Arm, device: torch.device) -> tuple[SceneSet, Tensor]:
    """The test images of understanding, and the tokens through which the backbone sees them."""
    foundation = arm.foundation
    data = SceneSet(foundation.world, "test", config.evaluation.questions, foundation.resolution, seed=1)
    eyes = arm.backbone.image_encoder(foundation, arm.encoder)
    return data, cached_latents(eyes, data, device)


def understanding_probe(config: RunConfig, arm: Arm, device: torch.device) -> tuple[Any, Tensor]:
    """The test questions and the image tokens that they are about."""
    data, tokens = understanding_images(config, arm, device)
    return questions_for(data, config.evaluation.questions), tokens


def answered(config: RunConfig, arm: Arm, device: torch.device) -> tuple[list[Answered], list[Answered]]:
    """The backbone's graded answers, and those it gives blind: to the mean image instead of the one asked about."""
    pairs, tokens = understanding_probe(config, arm, device)
    blank = tokens.mean(dim=0, keepdim=True).expand_as(tokens)
    seen, blind = (grade(arm.backbone, pairs, answer_logits(arm.backbone, pairs, shown)) for shown in (tokens, blank))
    return seen, blind


def described(config: RunConfig, arm: Arm, device: torch.device) -> tuple[list[Described] | None, ...]:
    """Descriptions of test images, and the one of the mean image held against all of them.

    None for a backbone from elsewhere, which was not taught the grammar that they are read by.
    """
    if not arm.backbone.of_foundation:
        return None, None
    data, tokens = understanding_images(config, arm, device)
    scenes = [sample.scene for sample in data.samples[:DESCRIBED]]
    seen = describe(arm.backbone, tokens[:DESCRIBED])
    (blind,) = describe(arm.backbone, tokens.mean(dim=0, keepdim=True))
    return list(map(Described, seen, scenes)), [Described(blind, scene) for scene in scenes]
