"""The backbone before and after generation training: its weights' hash, and its answers to the test questions.

Where a strategy freezes the backbone both must agree, which is an invariant. Where it trains a backbone that already
understood, the two sets of answers say what was retained (`unimm.evaluation.retention`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from unimm.evaluation.answers import Answered, answer_logits, grade
from unimm.evaluation.retention import as_result
from unimm.schema import RunConfig
from unimm.training.asking import understanding_probe
from unimm.training.assemble import Arm, weights_hash

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
