"""Standard errors over prompts: the plain one, Miller's formula term by term, overall scores, and true coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unimm.evaluation.statistics import clustered, clustered_mean


def test_one_image_a_prompt_gives_the_plain_standard_error() -> None:
    x = np.random.default_rng(0).random(50)
    assert clustered(x.tolist(), range(50)) == pytest.approx(stats.sem(x), rel=1e-12)


def test_it_is_millers_sum_over_pairs_of_one_prompt() -> None:
    rng = np.random.default_rng(1)
    x, prompts = rng.random(60), rng.integers(0, 12, 60)
    off = x - x.mean()
    pairs = sum(off[i] * off[j] for i in range(60) for j in range(60) if prompts[i] == prompts[j])
    groups = len(set(prompts.tolist()))
    expected = np.sqrt(pairs / 60**2 * groups / (groups - 1))
    assert clustered(x.tolist(), prompts.tolist()) == pytest.approx(expected, rel=1e-12)


def test_equal_images_count_once() -> None:
    x = np.random.default_rng(2).random(20)
    assert clustered(np.repeat(x, 4).tolist(), np.repeat(range(20), 4).tolist()) == pytest.approx(
        stats.sem(x), rel=1e-12
    )


def test_items_that_a_score_does_not_apply_to_do_not_count() -> None:
    x = [0.0, 1.0, 1.0, None, None]
    assert clustered(x, "abcde") == pytest.approx(stats.sem([0, 1, 1]), rel=1e-12)
    assert clustered([1.0, None], "ab") is None and clustered([None, None], "ab") is None
    assert clustered([1.0, 0.0], "aa") is None
    assert clustered([1.0, 1.0, 1.0], "abc") is None


def test_the_mean_of_independent_parts_adds_their_variances() -> None:
    rng = np.random.default_rng(3)
    parts = [[None] * (40 * k) + rng.random(40).tolist() + [None] * (80 - 40 * k) for k in range(3)]
    expected = np.sqrt(sum(clustered(part, range(120)) ** 2 for part in parts)) / 3
    assert clustered_mean(parts, range(120)) == pytest.approx(expected, rel=0.02)


def test_the_mean_of_parts_of_the_same_images_keeps_their_covariance() -> None:
    x = np.random.default_rng(4).random(30)
    twice = clustered_mean([x.tolist(), x.tolist()], range(30))
    assert twice == pytest.approx(stats.sem(x), rel=1e-12)
    assert clustered_mean([x.tolist(), (1 - x).tolist()], range(30)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("images", [1, 4])
def test_errors_are_as_large_as_means_really_vary(images: int) -> None:
    rng, means, errors = np.random.default_rng(5), [], []
    for _ in range(400):
        rate = rng.beta(1, 1, 40)
        hits = (rng.random((40, images)) < rate[:, None]).astype(float)
        means.append(hits.mean())
        errors.append(clustered(hits.ravel().tolist(), np.repeat(range(40), images).tolist()))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_equal_items_have_no_error_whatever_the_rounding_of_their_mean() -> None:
    assert clustered([0.7] * 3, range(3)) is None
    assert clustered_mean([[0.7] * 3, [0.1] * 3], range(3)) is None
    assert clustered([0.7, 0.7, 0.7000001], range(3)) == pytest.approx(1e-7 / 3, rel=1e-6)
