"""Understanding of test images, asked of the backbone: one-word questions, and descriptions in full.

A question is answered by the likeliest of the answers that it could have had; a description is written greedily, as
the backbone learned to in its understanding stage.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import pad_left
from unimm.backbones.wording import answer_ids, question_ids
from unimm.components import Backbone, Inputs
from unimm.data.scenes import SceneSet
from unimm.evaluation.metric import Answered
from unimm.scenes.questions import KINDS, Question, ask, by_answer

REQUEST = "describe the image ."
LONGEST = 110  # tokens; the longest true descriptions have about 100


def questions_for(data: SceneSet, count: int) -> list[tuple[int, Question]]:
    """``count`` (scene number, question) pairs, the kinds in turn as far as scenes allow them."""
    if data.world.questions == "by_answer":
        return list(islice(by_answer([sample.scene for sample in data.samples], data.world, [41]), count))
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
    backbone: Backbone, pairs: list[tuple[int, Question]], tokens: Float[Tensor, "m n d"], batch: int = 128
) -> Float[Tensor, "k v"]:
    """Next-token logits after each question, float32 on the CPU."""
    parts = []
    for begin in range(0, len(pairs), batch):
        some = pairs[begin : begin + batch]
        rows = [question_ids(backbone.tokenizer, q.text, tokens.shape[1]) for _, q in some]
        ids, mask = pad_left(rows, int(backbone.tokenizer.pad_token_id))[:2]
        inputs = Inputs(ids, mask, tokens[[number for number, _ in some]]).to(backbone.queries.device)
        logits = backbone(inputs, with_queries=False, last=1).logits
        assert logits is not None
        parts.append(logits[:, -1].float().cpu())
    return torch.cat(parts)


def grade(backbone: Backbone, pairs: list[tuple[int, Question]], logits: Float[Tensor, "k v"]) -> list[Answered]:
    """Whether the likeliest of each question's possible answers is the right one."""
    graded = []
    for (image, question), row in zip(pairs, logits, strict=True):
        choices = list(question.choices)
        chosen = choices[int(row[first_tokens(backbone, choices)].argmax())]
        graded.append(Answered(question.kind, chosen == question.answer, 1 / len(choices), image))
    return graded


def first_tokens(backbone: Backbone, choices: list[str]) -> list[int]:
    """The first token of each answer, by which answers are told apart; ValueError where two begin alike."""
    first = [answer_ids(backbone.tokenizer, choice)[0] for choice in choices]
    if len(set(first)) < len(first):
        raise ValueError(
            f"the backbone's tokenizer begins two of the answers {', '.join(choices)} with the same token, so that one "
            "token does not tell them apart: leave understanding out of evaluation.metrics, or use another backbone"
        )
    return first


@torch.inference_mode()
def describe(backbone: Backbone, tokens: Float[Tensor, "m n d"]) -> list[str]:
    """A description of each image, given as image tokens."""
    tokenizer, device = backbone.tokenizer, backbone.queries.device
    rows = [question_ids(tokenizer, REQUEST, tokens.shape[1])] * len(tokens)
    ids, mask = pad_left(rows, int(tokenizer.pad_token_id))[:2]
    inputs = Inputs(ids, mask, tokens).to(device)
    written = backbone.language_model().generate(
        inputs_embeds=backbone.embed(inputs),
        attention_mask=inputs.mask.long(),
        max_new_tokens=LONGEST,
        do_sample=False,
        use_cache=True,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=int(tokenizer.pad_token_id),
    )
    return list(tokenizer.batch_decode(written, skip_special_tokens=True))
