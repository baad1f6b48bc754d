"""Fréchet and kernel distances: analytic cases, other implementations, bias and jackknife."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from unimm.evaluation.metrics.distance import entries
from unimm.evaluation.statistics import frechet_bias, frechet_distance, group_jackknife, is_biased, kernel_distance


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def pair(n: int = 60, m: int = 80, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    mix = normal(d, d, 2)
    return normal(n, d) @ mix + 0.3, normal(m, d, 1)


def with_moments(mean: np.ndarray, deviations: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Samples whose mean is exactly ``mean`` and whose covariance is exactly diagonal."""
    x = normal(n, len(mean), seed)
    x = np.linalg.qr(x - x.mean(axis=0))[0] * np.sqrt(n - 1)
    return x * deviations + mean


def test_diagonal_gaussians():
    rng = np.random.default_rng(3)
    means, deviations = rng.standard_normal((2, 6)), rng.uniform(0.2, 3, (2, 6))
    x, y = (with_moments(means[i], deviations[i], 50 + 10 * i, i) for i in range(2))
    expected = ((means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [5, 60, 300])
def test_a_set_has_no_distance_from_itself(n):
    x = normal(n, 16)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("n", [6, 60])
def test_translation_rotation_and_scale(n):
    x, y = pair(n)
    shift = np.arange(8.0)
    rotation = np.linalg.qr(normal(8, 8, 5))[0]
    distance = frechet_distance(x, y)
    assert frechet_distance(x, x + shift) == pytest.approx((shift**2).sum(), rel=1e-10)
    assert frechet_distance(x @ rotation, y @ rotation) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * distance, rel=1e-10)
    assert frechet_distance(y, x) == pytest.approx(distance, rel=1e-10)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean(axis=0), np.cov(x, rowvar=False)


@pytest.mark.parametrize("sizes", [(60, 80, 8), (400, 300, 32)])
def test_frechet_distance_agrees_with_clean_fid_and_torchmetrics(sizes):
    x, y = pair(*sizes)
    ours = frechet_distance(x, y)
    assert ours == pytest.approx(cleanfid.frechet_distance(*moments(x), *moments(y)), rel=1e-6)
    tensors = [torch.from_numpy(a) for a in (*moments(x), *moments(y))]
    assert ours == pytest.approx(float(_compute_fid(*tensors)), rel=1e-6)


def test_frechet_distance_of_fewer_samples_than_dimensions_agrees_with_torchmetrics():
    x, y = pair(10, 12, 16)
    tensors = [torch.from_numpy(a) for a in (*moments(x), *moments(y))]
    assert frechet_distance(x, y) == pytest.approx(float(_compute_fid(*tensors)), rel=1e-6)


def test_both_distances_agree_with_torch_fidelity():
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = pair()
    statistics = [{"mu": m, "sigma": s} for m, s in (moments(x), moments(y))]
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(theirs, rel=1e-6)
    x, y = pair(60, 60)
    kernels = [(a @ b.T / 8 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y))]
    assert kernel_distance(x, y) == pytest.approx(kid.mmd2(*kernels), rel=1e-6)


def known_pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((100, 16)), rng.standard_normal((100, 16)) + 0.2


def test_kernel_distance_has_the_known_value():
    assert kernel_distance(*known_pair()) == pytest.approx(0.067791888287, abs=1e-12)


def test_kernel_distance_agrees_with_torchmetrics_and_clean_fid_on_full_sets():
    x, y = known_pair()
    assert kernel_distance(x, y) == pytest.approx(float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y))), rel=1e-9)
    assert kernel_distance(x, y) == pytest.approx(cleanfid.kernel_distance(x, y, num_subsets=1), rel=1e-9)


def test_kernel_distance_sums_over_blocks_of_any_size(monkeypatch):
    x, y = pair(50, 70)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("unimm.evaluation.statistics.BLOCK", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_is_unbiased():
    values = [kernel_distance(normal(20, 8, 2 * s), normal(30, 8, 2 * s + 1)) for s in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_distances_repeat_to_the_bit():
    x, y = pair()
    assert frechet_distance(x, y) == frechet_distance(x, y)
    assert kernel_distance(x, y) == kernel_distance(x, y)


@pytest.mark.parametrize(("n", "predicted"), [(64, 34.5), (256, 8.625), (1024, 2.15625), (4096, 0.5390625)])
def test_bias_of_the_identity(n, predicted):
    assert frechet_bias(n, n, np.eye(64)) == pytest.approx(predicted, rel=1e-12)


def test_bias_predicts_what_is_observed():
    deviations = np.array([3.0, 2, 1, 1, 0.5, 0.1, 0, 0])
    draws = [
        frechet_distance(normal(200, 8, 2 * s) * deviations, normal(400, 8, 2 * s + 1) * deviations) for s in range(200)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert frechet_bias(200, 400, np.diag(deviations**2)) == pytest.approx(np.mean(draws), abs=4 * error)
    assert frechet_bias(200, 400, np.diag(deviations**2) / 4) < np.mean(draws) / 2


@pytest.mark.parametrize(("n", "m", "tolerance"), [(650, 1000, 0.04), (200, 1000, 0.06)])
def test_chance_of_as_many_images_as_runs_have(n: int, m: int, tolerance: float) -> None:
    """64 features whose variances fall as 1/i, and the covariance estimated from the m real ones, as scores do it."""
    deviations = 1 / np.sqrt(np.arange(1, 65))
    pairs = [(normal(n, 64, 2 * s) * deviations, normal(m, 64, 2 * s + 1) * deviations) for s in range(24)]
    simulated = float(np.mean([frechet_distance(*pair) for pair in pairs]))
    told = float(np.mean([frechet_bias(n, m, np.cov(real.T)) for _, real in pairs]))
    assert told == pytest.approx(simulated, rel=tolerance)


def test_is_biased_below_ten_samples_a_dimension():
    assert is_biased(639, 64)
    assert not is_biased(640, 64)


def test_jackknife_of_a_mean_is_its_standard_error():
    x = normal(96, 1)
    groups = x.reshape(6, 16).mean(axis=0)  # prompt i has images i, i + 16, ...
    error = group_jackknife(lambda rows: float(rows.mean()), x, np.arange(96) % 16)
    assert error == pytest.approx(groups.std(ddof=1) / 4, rel=1e-9)


def test_jackknife_errors_are_as_large_as_the_distance_really_varies():
    reference = normal(400, 8, 999)
    prompts = np.repeat(np.arange(40), 4)

    def sample(seed):
        rng = np.random.default_rng(seed)
        return np.repeat(rng.standard_normal((40, 8)), 4, axis=0) + 0.5 * rng.standard_normal((160, 8)) + 0.3

    values = [frechet_distance(sample(s), reference) for s in range(150)]
    errors = [group_jackknife(lambda rows: frechet_distance(rows, reference), sample(s), prompts) for s in range(20)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


def test_a_test_of_few_texts_is_left_out_by_entries_and_not_by_texts():
    """A small world: 60 entries of two images each, drawn from three texts with images of their own kind."""
    reference = np.concatenate([normal(200, 8, 990 + text) + 2 * np.eye(8)[text] for text in range(3)])
    texts, rows = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        texts.append(np.repeat(rng.integers(3, size=60), 2))
        rows.append(rng.standard_normal((120, 8)) + 2 * np.eye(8)[texts[-1]])

    def error(clusters, features):
        return group_jackknife(lambda some: frechet_distance(some, reference), features, clusters)

    spread = np.std([frechet_distance(features, reference) for features in rows])
    by_entry = [error(np.repeat(np.arange(60), 2), features) for features in rows[:20]]
    by_text = [error(text, features) for text, features in zip(texts[:20], rows[:20], strict=True)]
    assert np.mean(by_entry) == pytest.approx(spread, rel=0.3)
    assert np.mean(by_text) > 2 * spread


def test_images_in_a_row_with_one_text_are_one_entry():
    assert entries(["a", "a", "b", "a", "a"]).tolist() == [0, 0, 1, 2, 2]
    assert entries(["a"]).tolist() == [0]


def test_jackknife_leaves_out_whole_prompts():
    prompts = np.repeat([7, 3, 9], 4)
    sizes: list[set[int]] = []
    group_jackknife(lambda rows: float(sizes.append(set(rows[:, 0].astype(int))) or 0), prompts[:, None] * 1.0, prompts)
    assert sorted(map(sorted, sizes)) == [[3, 7], [3, 9], [7, 9]]


def test_jackknife_groups_do_not_follow_the_order_of_prompts():
    kept: list[list[int]] = []
    prompts = np.arange(96)
    group_jackknife(lambda rows: float(kept.append(rows[:, 0].astype(int).tolist()) or 0), prompts[:, None], prompts)
    left_out = [sorted(set(range(96)) - set(rows)) for rows in kept]
    assert [len(group) for group in left_out] == [6] * 16
    assert all(len({prompt % 16 for prompt in group}) > 1 for group in left_out)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="same extractor"):
        frechet_distance(normal(5, 3), normal(5, 4))
    with pytest.raises(ValueError, match="at least two"):
        kernel_distance(normal(1, 3), normal(5, 3))
    with pytest.raises(ValueError, match="at least two prompts"):
        group_jackknife(lambda rows: 0.0, normal(5, 3), np.zeros(5, dtype=int))


def test_no_jackknife_of_sets_that_are_too_small_for_a_distance():
    def distance(rows):
        return frechet_distance(rows, normal(50, 3, 1))

    assert group_jackknife(distance, normal(2, 3), np.arange(2)) is None
    assert group_jackknife(distance, normal(6, 3), np.array([0, 0, 0, 0, 0, 1])) is None
    assert group_jackknife(distance, normal(4, 3), np.array([0, 0, 1, 1])) > 0
