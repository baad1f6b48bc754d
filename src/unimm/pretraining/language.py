"""The backbone's two stages: language only (captions and questions about captions), then understanding of images.

Joint arms start from the first, sequential arms from the second. Both stages see whole chats in the wording that
sampling uses later (`unimm.backbones.wording`), and the loss falls on the assistant's answers and on captions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Row, answer_loss, row
from unimm.backbones.wording import answer_ids, generation_ids, question_ids, reading_ids
from unimm.components import Backbone
from unimm.data.scenes import SceneSet, batch_indices
from unimm.pretraining.recipes import TrainingCost, fit
from unimm.scenes.captions import brief_caption
from unimm.scenes.questions import ask_any

BATCH = 64
UNDERSTANDING_BATCH = 16
LANGUAGE_REPEATS = 8
QUESTION_DRAWS = 3


def language_rows(backbone: Backbone, data: SceneSet) -> list[Row]:
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


def understanding_rows(backbone: Backbone, data: SceneSet, image_tokens: int) -> list[Row]:
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


def train_language(backbone: CausalLM, data: SceneSet, steps: int) -> TrainingCost:
    """Language only: the projector and queries do not take part."""
    rows = language_rows(backbone, data)

    def loss(step: int) -> Tensor:
        return answer_loss(backbone, [rows[i] for i in batch_indices(17, step, BATCH, len(rows)).tolist()], None)

    backbone.queries.requires_grad_(False)
    return fit("language", backbone, loss, BATCH, steps, learning_rate=1.5e-3)


def train_understanding(
    backbone: CausalLM, data: SceneSet, features: Float[Tensor, "m n d"], steps: int
) -> TrainingCost:
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
