"""What a run's backbone understands: answers about test images, whole descriptions, both blind, before and after.

Where a strategy freezes the backbone, its weights and its answers before and after generation training must agree,
which is an invariant. Where it trains a backbone that already understood, the two sets of answers say what was retained
(`unimm.evaluation.metrics.understanding`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from unimm.components import weights_hash
from unimm.data.cache import cached_latents
from unimm.data.scenes import SceneSet
from unimm.evaluation.asking import answer_logits, describe, grade, questions_for
from unimm.evaluation.metric import Answered, Described
from unimm.evaluation.metrics.understanding import as_result
from unimm.runs.record import Retention
from unimm.runs.run import Run

DESCRIBED = 100
LOGIT_ROUNDING = 1e-3


def understanding_images(run: Run) -> tuple[SceneSet, Tensor]:
    """The test images of understanding, and the tokens through which the backbone sees them."""
    foundation = run.arm.foundation
    data = SceneSet(foundation.world, "test", run.config.evaluation.questions, foundation.resolution, seed=1)
    eyes = run.arm.backbone.image_encoder(foundation, run.arm.encoder)
    return data, cached_latents(eyes, data, run.device).values


def understanding_probe(run: Run) -> tuple[Any, Tensor]:
    """The test questions and the image tokens that they are about."""
    data, tokens = understanding_images(run)
    return questions_for(data, run.config.evaluation.questions), tokens


def answered(run: Run) -> tuple[list[Answered], list[Answered]]:
    """The backbone's graded answers, and those it gives blind: to the mean image instead of the one asked about."""
    backbone = run.arm.backbone
    pairs, tokens = understanding_probe(run)
    blank = tokens.mean(dim=0, keepdim=True).expand_as(tokens)
    seen, blind = (grade(backbone, pairs, answer_logits(backbone, pairs, shown)) for shown in (tokens, blank))
    return seen, blind


def described(run: Run) -> tuple[list[Described] | None, list[Described] | None]:
    """Descriptions of test images, and the one of the mean image held against all of them.

    None for a backbone from elsewhere, which was not taught the grammar that they are read by.
    """
    backbone = run.arm.backbone
    if not backbone.of_foundation:
        return None, None
    data, tokens = understanding_images(run)
    scenes = [sample.scene for sample in data.samples[:DESCRIBED]]
    seen = describe(backbone, tokens[:DESCRIBED])
    (blind,) = describe(backbone, tokens.mean(dim=0, keepdim=True))
    return list(map(Described, seen, scenes)), [Described(blind, scene) for scene in scenes]


class Questioned(NamedTuple):
    """Graded answers and descriptions, and the blind ones; None where the test asks no questions."""

    answers: list[Answered] | None
    blind_answers: list[Answered] | None
    descriptions: list[Described] | None
    blind_descriptions: list[Described] | None


def questioned(run: Run) -> Questioned:
    """What the run's backbone answers about test images, where the test has scenes to ask about."""
    if not run.benchmark.asks_questions:
        return Questioned(None, None, None, None)
    return Questioned(*answered(run), *described(run))


class Probe(NamedTuple):
    """Hash of the backbone without its queries, its logits on the test questions, and its graded answers."""

    weights: str
    logits: torch.Tensor
    answers: list[Answered]


def probe(run: Run) -> Probe:
    """The backbone as it is now."""
    backbone = run.arm.backbone.to(run.device).eval()
    names = {name for name, _ in backbone.named_parameters() if name != "queries"}
    pairs, tokens = understanding_probe(run)
    logits = answer_logits(backbone, pairs, tokens)
    return Probe(weights_hash(backbone, names), logits, grade(backbone, pairs, logits))


def before_training(run: Run) -> Probe | None:
    """The backbone to compare with later; None where it neither stays as it is nor understands yet."""
    return probe(run) if is_frozen(run) or understood(run) else None


def is_frozen(run: Run) -> bool:
    """Whether the strategy promises to leave the backbone as it is."""
    return not run.mix.train_backbone


def understood(run: Run) -> bool:
    """Whether the backbone could answer questions about images before generation training."""
    return run.arm.backbone.understands(run.arm.strategy.start)


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


def retained(run: Run, before: Probe | None, after: list[Answered] | None) -> Retention | None:
    """The ``retention`` of result.json: answers before generation training against those after it, if it asked."""
    if after is None:
        return None
    earlier = before.answers if before is not None and understood(run) else None
    return Retention.model_validate(as_result(run.arm.strategy.start, is_frozen(run), earlier, after))
