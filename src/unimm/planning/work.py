"""FLOPs and activations of one generation sample in training, part by part.

Head and encoder run on the meta device, where the counter sees every operation's shapes and nothing is computed;
language models go by formula (`unimm.planning.language`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unimm.evaluation.flops import count_flops
from unimm.noise import NoiseSource
from unimm.planning.assumptions import ANSWER, QUESTION
from unimm.planning.backbone import trained_backbone
from unimm.planning.language import Decoder
from unimm.planning.outline import Outline


class Work(NamedTuple):
    """FLOPs a generation sample; ``encoder`` only where latents are made during training, and once an image if cached.

    ``understanding`` is the share of questions that a joint run asks for each generation sample.
    """

    encoder: int
    backbone: int
    understanding: int
    head: int

    @property
    def cached(self) -> int:
        """FLOPs of a training sample whose latents are cached."""
        return self.backbone + self.understanding + self.head

    @property
    def encoding(self) -> int:
        """FLOPs of a training sample whose image is encoded in the same step."""
        return self.encoder + self.cached


class Kept(NamedTuple):
    """Bytes of activations that a sample keeps for its backward pass, at float32: an upper bound under autocast."""

    backbone: int
    understanding: int
    head: int


def cost(arm: Outline, prompt: int | None = None) -> tuple[Work, Kept]:
    """FLOPs and activations of a sample with a prompt of so many tokens (the data's average by default)."""
    decoder, length = Decoder.of(arm.language_model), prompt or arm.prompt
    trains, whole, question = arm.stage.train_backbone, trained_backbone(arm).whole, arm.spec.tokens + QUESTION
    head_flops, head_bytes = _head(arm)
    done = Work(
        encoder=_encoder(arm),
        backbone=_backbone(decoder, length, arm.queries, trains, whole),
        understanding=round(_share(arm) * question_flops(decoder, question, ANSWER, whole)),
        head=head_flops,
    )
    kept = Kept(
        backbone=decoder.kept_bytes(arm.queries + (length if trains else 0)),
        understanding=round(_share(arm) * (decoder.kept_bytes(question) + decoder.kept_logits(ANSWER + 1))),
        head=head_bytes,
    )
    return done, kept


def _share(arm: Outline) -> float:
    """Questions for each generation sample."""
    return arm.understanding_samples / (arm.config.training.steps * arm.config.training.batch_size)


def _encoder(arm: Outline) -> int:
    tensors: Any = [*arm.encoder.parameters(), *arm.encoder.buffers()]
    place = tensors[0].device if tensors else torch.device("meta")
    image = torch.empty(1, 3, arm.resolution, arm.resolution, device=place)

    def encode() -> None:
        with torch.no_grad():
            arm.encoder.encode(image)

    return count_flops(encode)


def _backbone(decoder: Decoder, prompt: int, queries: int, trains: bool, whole: bool) -> int:
    """``trains``: gradients flow through the prompt too; ``whole``: also to the language model's own weights."""
    length = prompt + queries
    if trains:
        return decoder.forward(length, length) + decoder.backward(length, length, whole)
    conditions = decoder.forward(queries, length) + decoder.backward(queries, length, trained=False)
    return decoder.forward(prompt, prompt) + conditions


def question_flops(decoder: Decoder, tokens: int, answer: int, whole: bool) -> int:
    """FLOPs of forward and backward pass of a question, the last ``answer`` of whose tokens count, and which alone,
    with the one before, need logits; ``whole`` as the model's weights train."""
    passes = decoder.forward(tokens, tokens) + decoder.backward(tokens, tokens, whole)
    return passes + decoder.output(answer + 1, whole)


def _head(arm: Outline) -> tuple[int, int]:
    """FLOPs and kept bytes of the objective's loss on one sample, all of it on the meta device."""
    latents = torch.empty(1, arm.spec.tokens, arm.spec.channels, device="meta")
    conditions = torch.empty(1, arm.queries, arm.width, device="meta", requires_grad=True)

    def loss() -> Tensor:
        return arm.objective.loss(arm.head, latents, conditions, NoiseSource(0, "plan"), [0])

    kept = 0

    def step() -> None:
        nonlocal kept
        value, kept = saved_bytes(loss, arm.head)
        value.backward()

    flops = count_flops(step)
    return flops, kept


def saved_bytes(forward: Callable[[], Tensor], module: nn.Module) -> tuple[Tensor, int]:
    """A forward pass's result, and the bytes that autograd keeps of it.

    Parameters are left out, and tensors that share memory count once.
    """
    owned = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    # The tensors are held, so that no storage's address is used again.
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in owned:
            found[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    return result, sum(tensor.untyped_storage().nbytes() for tensor in found.values())
