"""Questions about test images, and one-word answers: the likeliest of the answers that a question could have had."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Inputs, pad_left
from unimm.backbones.templates import answer_ids, question_ids
from unimm.data.scenes import SceneSet
from unimm.scenes.questions import KINDS, Question, ask


class Answered(NamedTuple):
    """The kind of a question, whether the backbone's choice was right, how often a blind guess is, and which image."""

    kind: str
    correct: bool
    chance: float
    image: int


def questions_for(data: SceneSet, count: int) -> list[tuple[int, Question]]:
    """``count`` (scene number, question) pairs, the kinds in turn as far as scenes allow them."""
    found: list[tuple[int, Question]] = []
    for i in range(len(data) * 4):
        number = i % len(data)
        question = ask(
            KINDS[i % 4 if i < len(data) else (i // len(data) + i) % 4],
            data.samples[number].scene,
            data.world,
            np.random.default_rng([i, 41]),
        )
        if question is not None:
            found.append((number, question))
        if len(found) == count:
            break
    return found


@torch.inference_mode()
def answer_logits(
    backbone: CausalLM, pairs: list[tuple[int, Question]], tokens: Float[Tensor, "m n d"], batch: int = 128
) -> Float[Tensor, "k v"]:
    """Next-token logits after each question, float32 on the CPU."""
    parts = []
    for begin in range(0, len(pairs), batch):
        some = pairs[begin : begin + batch]
        rows = [question_ids(backbone.tokenizer, q.text, tokens.shape[1]) for _, q in some]
        ids, mask, _ = pad_left(rows, int(backbone.tokenizer.pad_token_id))
        inputs = Inputs(ids, mask, tokens[[number for number, _ in some]]).to(backbone.queries.device)
        logits = backbone(inputs, with_queries=False, last=1).logits
        assert logits is not None
        parts.append(logits[:, -1].float().cpu())
    return torch.cat(parts)


def grade(backbone: CausalLM, pairs: list[tuple[int, Question]], logits: Float[Tensor, "k v"]) -> list[Answered]:
    """Whether the likeliest of each question's possible answers is the right one."""
    graded = []
    for (image, question), row in zip(pairs, logits, strict=True):
        choices = list(question.choices)
        chosen = choices[int(row[first_tokens(backbone, choices)].argmax())]
        graded.append(Answered(question.kind, chosen == question.answer, 1 / len(choices), image))
    return graded


def first_tokens(backbone: CausalLM, choices: list[str]) -> list[int]:
    """The first token of each answer, by which answers are told apart; ValueError where two begin alike."""
    first = [answer_ids(backbone.tokenizer, choice)[0] for choice in choices]
    if len(set(first)) < len(first):
        raise ValueError(
            f"the backbone's tokenizer begins two of the answers {', '.join(choices)} with the same token, so that one "
            "token does not tell them apart: leave understanding out of evaluation.metrics, or use another backbone"
        )
    return first
