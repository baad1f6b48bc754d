"""The backbone's two stages: language only (captions and questions about captions), then understanding of images.

Joint arms start from the first, sequential arms from the second. Both stages see whole chats in the wording that
sampling uses later (`unimm.backbones.wording`), and the loss falls on the assistant's answers and on captions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Row, answer_loss
from unimm.data.scenes import SceneSet, batch_indices
from unimm.pretraining.image_rows import image_stream
from unimm.pretraining.recall import any_pairs, told
from unimm.pretraining.recipes import Course, TrainingCost, drawn, fit
from unimm.pretraining.rows import language_rows
from unimm.pretraining.sizes import Reading, Stage

LANGUAGE_REPEATS = 8


def train_language(backbone: CausalLM, data: SceneSet, reading: Reading, course: Course) -> TrainingCost:
    """Language only: the projector and queries do not take part. Made-up lists come first, where there are any."""
    rows = language_rows(backbone, data)
    seed, batch, kept = drawn(17, course.draw), reading.batch, course.unfinished

    def rows_of(step: int) -> list[Row]:
        if step >= reading.pairs + reading.objects:
            return [rows[i] for i in batch_indices(seed, step, batch, len(rows)).tolist()]
        made, rng = any_pairs if step < reading.pairs else told, np.random.default_rng([seed, step])
        return [made(backbone.tokenizer, rng) for _ in range(batch)]

    def loss(step: int) -> Tensor:
        return answer_loss(backbone, rows_of(step), None)

    backbone.queries.requires_grad_(False)
    return fit("language", backbone, loss, batch, course.steps, reading.learning_rate, unfinished=kept)


def train_understanding(
    backbone: CausalLM, data: SceneSet, features: Float[Tensor, "m n d"], seeing: Stage, course: Course
) -> TrainingCost:
    """Questions and descriptions of images, in as many steps of as many samples as a joint run takes for them.

    Every step repeats a little language, so that it is kept; the cost counts images only, which are what joint runs
    have to match.
    """
    asked, about_text = image_stream(backbone, data, features.shape[1]), language_rows(backbone, data)
    seeds, batch = (drawn(19, course.draw), drawn(29, course.draw)), seeing.batch

    def loss(step: int) -> Tensor:
        rows, images = asked.between(seeds[0], step * batch, (step + 1) * batch, course.steps * batch)
        repeated = batch_indices(seeds[1], step, LANGUAGE_REPEATS, len(about_text))
        seen = answer_loss(backbone, rows, features[images])
        return seen + answer_loss(backbone, [about_text[i] for i in repeated.tolist()], None)

    backbone.queries.requires_grad_(False)
    steps, kept = course.steps, course.unfinished
    return fit("understanding", backbone, loss, batch, steps, seeing.learning_rate, unfinished=kept)
