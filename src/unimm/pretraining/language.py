"""The backbone's two stages: language only (captions and questions about captions), then understanding of images.

Joint arms start from the first, sequential arms from the second. Both stages see whole chats in the wording that
sampling uses later (`unimm.backbones.wording`), and the loss falls on the assistant's answers and on captions.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Row, answer_loss
from unimm.data.scenes import SceneSet, batch_indices
from unimm.pretraining.recall import any_pairs, seen_objects, told_objects
from unimm.pretraining.recipes import Course, TrainingCost, drawn, fit
from unimm.pretraining.rows import language_rows, understanding_rows
from unimm.pretraining.sizes import Stage
from unimm.scenes.questions import unique_items

LANGUAGE_REPEATS = 8


def train_language(backbone: CausalLM, data: SceneSet, reading: Stage, course: Course) -> TrainingCost:
    """Language only: the projector and queries do not take part. Made-up lists come first, where there are any."""
    rows = language_rows(backbone, data)
    seed, batch, kept = drawn(17, course.draw), reading.batch, course.unfinished

    def rows_of(step: int) -> list[Row]:
        if step >= reading.pairs + reading.objects:
            return [rows[i] for i in batch_indices(seed, step, batch, len(rows)).tolist()]
        made, rng = any_pairs if step < reading.pairs else told_objects, np.random.default_rng([seed, step])
        return [made(backbone.tokenizer, rng) for _ in range(batch)]

    def loss(step: int) -> Tensor:
        return answer_loss(backbone, rows_of(step), None)

    backbone.queries.requires_grad_(False)
    return fit("language", backbone, loss, batch, course.steps, reading.learning_rate, unfinished=kept)


def train_understanding(
    backbone: CausalLM, data: SceneSet, features: Float[Tensor, "m n d"], seeing: Stage, course: Course
) -> TrainingCost:
    """Questions and descriptions of images, in as many steps of as many samples as a joint run takes for them; lists
    of what images show come first, where there are any.

    Every step repeats a little language, so that it is kept; the cost counts images only, which are what joint runs
    have to match.
    """
    about_images, about_text = understanding_rows(backbone, data, features.shape[1]), language_rows(backbone, data)
    seeds = drawn(19, course.draw), drawn(29, course.draw)
    several = np.array([i for i, sample in enumerate(data.samples) if len(unique_items(sample.scene)) > 1])

    def rows_of(step: int) -> tuple[list[Row], Int[Tensor, " k"]]:
        if step >= seeing.objects:
            return about_images.at(batch_indices(seeds[0], step, seeing.batch, len(about_images.rows)))
        rng = np.random.default_rng([seeds[0], step])
        images = rng.choice(several, seeing.batch)
        scenes = [data.samples[i].scene for i in images.tolist()]
        tokens = features.shape[1]
        return [seen_objects(backbone.tokenizer, scene, tokens, rng) for scene in scenes], torch.from_numpy(images)

    def loss(step: int) -> Tensor:
        rows, images = rows_of(step)
        repeated = batch_indices(seeds[1], step, LANGUAGE_REPEATS, len(about_text))
        seen = answer_loss(backbone, rows, features[images])
        return seen + answer_loss(backbone, [about_text[i] for i in repeated.tolist()], None)

    backbone.queries.requires_grad_(False)
    steps, kept = course.steps, course.unfinished
    return fit("understanding", backbone, loss, seeing.batch, steps, seeing.learning_rate, unfinished=kept)
