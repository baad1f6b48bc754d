"""Ask the backbone about test images: one-word questions, whole descriptions, and both blind.

The backbone before and after generation training: its weights' hash, and its answers to the test questions.

Where a strategy freezes the backbone both must agree, which is an invariant. Where it trains a backbone that already
understood, the two sets of answers say what was retained (`unimm.evaluation.metrics.understanding`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from unimm.arm import Arm
from unimm.components import weights_hash
from unimm.data.cache import cached_latents
from unimm.data.scenes import SceneSet
from unimm.evaluation.asking import answer_logits, describe, grade, questions_for
from unimm.evaluation.metric import Answered, Described
from unimm.evaluation.metrics.understanding import as_result
from unimm.schema import RunConfig

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


LOGIT_ROUNDING = 1e-3


class Probe(NamedTuple):
    """Hash of the backbone without its queries, its logits on the test questions, and its graded answers."""

    weights: str
    logits: torch.Tensor
    answers: list[Answered]


def probe(config: RunConfig, arm: Arm, device: torch.device) -> Probe:
    """The backbone as it is now."""
    names = {name for name, _ in arm.backbone.named_parameters() if name != "queries"}
    pairs, tokens = understanding_probe(config, arm, device)
    backbone = arm.backbone.to(device).eval()
    logits = answer_logits(backbone, pairs, tokens)
    return Probe(weights_hash(backbone, names), logits, grade(backbone, pairs, logits))


def before_training(config: RunConfig, arm: Arm, device: torch.device) -> Probe | None:
    """The backbone to compare with later; None where it neither stays as it is nor understands yet."""
    return probe(config, arm, device) if is_frozen(arm) or understood(arm) else None


def is_frozen(arm: Arm) -> bool:
    """Whether the strategy promises to leave the backbone as it is."""
    return not arm.strategy.stages()[0].train_backbone


def understood(arm: Arm) -> bool:
    """Whether the backbone could answer questions about images before generation training."""
    return arm.backbone.understands(arm.strategy.start)


def check_frozen(before: Probe, after: Probe) -> bool:
    """A frozen backbone must come out as it went in; RuntimeError otherwise.

    Weights are compared bit by bit, logits within float32 rounding: a matrix library may split the same product over
    another number of threads on a busy machine.
    """
    if after.weights != before.weights:
        raise RuntimeError("the strategy freezes the backbone, but its weights changed during training")
    difference = float((after.logits - before.logits).abs().max())
    if not difference <= LOGIT_ROUNDING:
        raise RuntimeError(f"the strategy freezes the backbone, but its answers' logits moved by {difference:.1e}")
    return True


def retained(arm: Arm, before: Probe | None, after: list[Answered]) -> dict[str, Any]:
    """The ``retention`` of result.json: answers before generation training against those after it."""
    earlier = before.answers if before is not None and understood(arm) else None
    return as_result(arm.strategy.start, is_frozen(arm), earlier, after)
