"""The backbone's two stages: language only (captions and questions about captions), then understanding of images.

Joint arms start from the first, sequential arms from the second. Both stages see whole chats in the wording that
sampling uses later (`unimm.backbones.templates`), and the loss falls on the assistant's answers and on captions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Inputs, pad_left
from unimm.backbones.templates import answer_ids, generation_ids, question_ids, reading_ids
from unimm.data.scenes import SceneSet, batch_indices
from unimm.foundation.loop import Cost, fit
from unimm.scenes.captions import brief_caption
from unimm.scenes.questions import ask_any

BATCH = 64
UNDERSTANDING_BATCH = 16
LANGUAGE_REPEATS = 8
QUESTION_DRAWS = 3


class Row(NamedTuple):
    """Token ids of a chat and how many of its last ones the loss covers."""

    ids: list[int]
    answer: int


def row(prompt: list[int], answer: list[int]) -> Row:
    """A prompt and its answer."""
    return Row(prompt + answer, len(answer))


def answer_loss(
    backbone: CausalLM, rows: list[Row], images: Float[Tensor, "b n d"] | None, tokens: int | None = None
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the covered tokens; ``tokens`` is what to divide by where rows are part of a larger batch.

    Questions and descriptions differ several times in length, so each kind is padded and run by itself: the same mean
    over the same tokens, without most of the padding.
    """
    total = torch.zeros((), device=backbone.queries.device)
    for group in _by_length(rows):
        shown = None if images is None else images[torch.tensor(group)]
        total = total + summed_loss(backbone, [rows[i] for i in group], shown)
    return total / (tokens or sum(r.answer for r in rows))


def _by_length(rows: list[Row]) -> list[list[int]]:
    """Row numbers in at most two groups: those over twice as long as the shortest, and the others."""
    limit = 2 * min(len(r.ids) for r in rows)
    groups = [[i for i, r in enumerate(rows) if (len(r.ids) > limit) == long] for long in (False, True)]
    return [group for group in groups if group]


def summed_loss(backbone: CausalLM, rows: list[Row], images: Float[Tensor, "b n d"] | None) -> Float[Tensor, ""]:
    """Summed cross-entropy of the covered tokens in one pass; rows are left-padded, so those are each row's last ones.

    Logits are computed from the position before the longest answer on: a vocabulary is large, and questions are long.
    """
    ids, mask, _ = pad_left([r.ids for r in rows], int(backbone.tokenizer.pad_token_id))
    device = backbone.queries.device
    longest = max(r.answer for r in rows)
    logits = backbone(Inputs(ids, mask, images).to(device), with_queries=False, last=longest + 1).logits
    answers = torch.tensor([r.answer for r in rows])
    covered = torch.arange(longest)[None] >= longest - answers[:, None]
    target = ids[:, -longest:].masked_fill(~covered, -100).to(device)
    flat, labels = logits[:, :-1].float().flatten(0, 1), target.flatten()
    return F.cross_entropy(flat, labels, ignore_index=-100, reduction="sum")


def language_rows(backbone: CausalLM, data: SceneSet) -> list[Row]:
    """Every other row asks about a brief caption; the others are requests to draw, which the answer repeats.

    Repeating is what any pretrained language model can do and a small one has to learn: without it, states after the
    prompt hold its colours but not its shapes, and a frozen backbone has nothing to tell the head. A long request is
    answered by the brief caption of its scene.
    """
    tokenizer, rows = backbone.tokenizer, []
    for i, sample in enumerate(data.samples):
        rng = np.random.default_rng([i, 31])
        if i // 6 % 2:
            is_long = i % 5 == 2
            prompt = generation_ids(tokenizer, sample.long if is_long else sample.short)
            answer = brief_caption(sample.scene, rng) if is_long else sample.short
            rows.append(row(prompt, answer_ids(tokenizer, answer)))
        else:
            question = ask_any(sample.scene, data.world, rng)
            prompt = reading_ids(tokenizer, brief_caption(sample.scene, rng), question.text)
            rows.append(row(prompt, answer_ids(tokenizer, question.answer)))
    return rows


def understanding_rows(backbone: CausalLM, data: SceneSet, image_tokens: int) -> list[Row]:
    """Rows about every image in turn, and again with other questions, ``QUESTION_DRAWS`` times: row r is about image
    r modulo ``len(data)``. Four rows in five ask a question, the fifth asks for a long description.
    """
    tokenizer, rows = backbone.tokenizer, []
    for draw in range(QUESTION_DRAWS):
        for i, sample in enumerate(data.samples):
            rng = np.random.default_rng([i, 37, draw])
            if (i + draw) % 5 == 4:
                prompt, answer = question_ids(tokenizer, "describe the image .", image_tokens), sample.long
            else:
                question = ask_any(sample.scene, data.world, rng)
                prompt, answer = question_ids(tokenizer, question.text, image_tokens), question.answer
            rows.append(row(prompt, answer_ids(tokenizer, answer)))
    return rows


def train_language(backbone: CausalLM, data: SceneSet, steps: int) -> Cost:
    """Language only: the projector and queries do not take part."""
    rows = language_rows(backbone, data)

    def loss(step: int) -> Tensor:
        return answer_loss(backbone, [rows[i] for i in batch_indices(17, step, BATCH, len(rows)).tolist()], None)

    backbone.queries.requires_grad_(False)
    return fit("language", backbone, loss, BATCH, steps, learning_rate=1.5e-3)


def train_understanding(backbone: CausalLM, data: SceneSet, features: Float[Tensor, "m n d"], steps: int) -> Cost:
    """Questions and descriptions of images, in as many steps of as many samples as a joint run takes for them.

    Every step repeats a little language, so that it is kept; the cost counts images only, which are what joint runs
    have to match.
    """
    image_rows, text_rows = understanding_rows(backbone, data, features.shape[1]), language_rows(backbone, data)

    def loss(step: int) -> Tensor:
        indices = batch_indices(19, step, UNDERSTANDING_BATCH, len(image_rows))
        repeated = batch_indices(29, step, LANGUAGE_REPEATS, len(text_rows))
        about_images = answer_loss(backbone, [image_rows[i] for i in indices.tolist()], features[indices % len(data)])
        return about_images + answer_loss(backbone, [text_rows[i] for i in repeated.tolist()], None)

    backbone.queries.requires_grad_(False)
    return fit("understanding", backbone, loss, UNDERSTANDING_BATCH, steps, learning_rate=1e-3)
