"""Diversity in a feature space: known Vendi scores, PRDC's definitions, identical images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.evaluation.statistics import (
    coverage,
    density,
    identical_images,
    inside_balls,
    vendi_score,
    vendi_within_prompts,
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_vendi_scores_of_the_authors():
    kernel = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    assert vendi_score(kernel) == pytest.approx(2.1573004833739833, rel=1e-9)
    assert vendi_score(np.kron(np.eye(4), np.ones((5, 5)))) == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_vendi_scores_at_both_ends(n):
    assert vendi_score(np.ones((n, n))) == pytest.approx(1, rel=1e-9)
    assert vendi_score(np.eye(n)) == pytest.approx(n, rel=1e-9)


def test_vendi_within_prompts():
    identical = np.repeat(normal(1, 1, 16), 8, axis=1)
    orthogonal = np.eye(8, 16)[None]
    result = vendi_within_prompts(np.concatenate([identical, orthogonal]), np.zeros((4, 16)))
    assert result.prompts == pytest.approx((1, 8), rel=1e-9)
    assert result.value == pytest.approx(4.5, rel=1e-9)
    assert result.n == 16


def test_the_reference_mean_is_taken_off():
    features, offset = normal(3, 8, 16), 50 * np.ones(16)
    plain = vendi_within_prompts(features, np.zeros((4, 16)))
    shifted = vendi_within_prompts(features + offset, np.tile(offset, (4, 1)))
    assert shifted.prompts == pytest.approx(plain.prompts, rel=1e-9)
    assert vendi_within_prompts(features + offset, np.zeros((4, 16))).value < 1.1 < 5 < plain.value


@pytest.mark.parametrize(("k", "dense", "covered"), [(3, 1.22, 47 / 60), (5, 1.296, 0.85)])
def test_density_and_coverage_agree_with_prdc(k, dense, covered):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((60, 4)), rng.standard_normal((50, 4)) * 0.8 + 0.3
    inside = inside_balls(fake, real, k)  # values of prdc 0.2
    assert density(inside, k) == pytest.approx(dense, rel=1e-12)
    assert coverage(inside) == pytest.approx(covered, rel=1e-12)


def test_density_and_coverage_by_hand():
    real = np.array([[0.0], [1], [10], [12]])  # nearest neighbours 1, 1, 2, 2 away
    inside = inside_balls(np.array([[0.5], [11.9], [50]]), real, neighbours=1)
    assert density(inside, neighbours=1) == pytest.approx(4 / 3) and coverage(inside) == 1
    assert not inside_balls(np.array([[2.0]]), real, neighbours=1).any(), "on the border is outside"


def test_a_copied_training_set_looks_good_and_a_collapsed_one_does_not():
    real = normal(200, 8)
    copied, collapsed = inside_balls(real[:50].repeat(4, axis=0), real), inside_balls(0 * real, real)
    assert density(copied) > 0.9
    assert coverage(collapsed) < coverage(copied)


def test_identical_images():
    images = torch.randint(0, 256, (2, 8, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0] = images[0, :1]
    assert identical_images(images) == (False, 16, (True, False))
    images[1] = images[1, :1]
    assert identical_images(images) == (True, 16, (True, True))
    images[1, 7, 2, 3, 3] ^= 1
    assert identical_images(images) == (False, 16, (True, False))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="at least 8 images of each prompt, not 4"):
        identical_images(torch.zeros(1, 4, 3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 8 images of each prompt, not 7"):
        vendi_within_prompts(normal(2, 7, 4), normal(3, 4))
    with pytest.raises(ValueError, match="5 real images have no 5 neighbours"):
        inside_balls(normal(9, 2), normal(5, 2))
