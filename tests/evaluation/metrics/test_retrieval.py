"""R-precision: perfect, by chance, ties, and distractors that never change."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.metrics.clip_score import r_precision


def embeddings(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 32))


def test_images_on_their_own_prompts_are_all_found():
    prompts = embeddings(120)
    result = r_precision(7 * prompts, prompts, range(120), seed=0)
    assert result == (1.0, 0.01, 120, (True,) * 120)


def test_unrelated_images_are_found_by_chance():
    own = np.arange(3000) % 30
    result = r_precision(embeddings(3000, 1), embeddings(30), own.tolist(), seed=0, distractors=9)
    assert result.chance == 0.1
    assert result.value == pytest.approx(0.1, abs=0.03)
    assert result.n == len(result.items) == 3000


def test_more_distractors_never_help():
    prompts = embeddings(100)
    images = prompts + 2 * embeddings(100, 1)
    values = [r_precision(images, prompts, range(100), seed=0, distractors=r).value for r in (1, 9, 99)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_an_image_falls_below_chance_when_its_prompt_is_another():
    prompts = embeddings(10)
    assert r_precision(prompts, prompts, [(i + 1) % 10 for i in range(10)], seed=0, distractors=9).value == 0


def test_a_tie_is_no_hit():
    prompts = np.array([[1.0, 1], [1, -1]])
    assert r_precision(np.array([[1.0, 0]]), prompts, [0], seed=0, distractors=1).value == 0


def test_distractors_depend_on_seed_and_prompt_only():
    prompts = embeddings(60)
    images = prompts + 1.5 * embeddings(60, 1)
    whole = r_precision(images, prompts, range(60), seed=3, distractors=5)
    assert r_precision(images, prompts, range(60), seed=3, distractors=5) == whole
    assert r_precision(images[40:], prompts, range(40, 60), seed=3, distractors=5).items == whole.items[40:]
    assert r_precision(images, prompts, range(60), seed=4, distractors=5).items != whole.items


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="99 distractors need more than 50"):
        r_precision(embeddings(50), embeddings(50), range(50), seed=0)
    with pytest.raises(ValueError, match="each distinct prompt once"):
        r_precision(embeddings(2), np.ones((2, 32)), range(2), seed=0, distractors=1)
