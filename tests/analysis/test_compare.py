"""Intervals of two arms: agreement with scipy, the two-way formula by hand, coverage by simulation, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from unimm.analysis.contrast import compare, contrast


@pytest.mark.parametrize(("m", "n"), [(3, 3), (2, 5), (8, 4)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_scores_by_run_give_welch_of_scipy(m: int, n: int, alpha: float) -> None:
    rng = np.random.default_rng(m)
    a, b = rng.normal(1, 2, m), rng.normal(0, 0.3, n)
    found, scipy = compare(a, b, alpha=alpha), stats.ttest_ind(a, b, equal_var=False)
    expected = scipy.confidence_interval(1 - alpha)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.df == pytest.approx(scipy.df) and found.p_value() == pytest.approx(scipy.pvalue)
    assert found.n_seeds == min(m, n) and found.n_items is None


def test_the_prompts_share_of_the_error_outlasts_seeds() -> None:
    """Differences by prompt of standard deviation 1 and next to no spread over seeds: the error is the prompts' own."""
    rng = np.random.default_rng(5)
    profile = rng.normal(size=100)
    a = profile + rng.normal(0, 0.01, (4, 100))
    found = compare(a, rng.normal(0, 0.01, (4, 100)))
    assert found.lasting_error == pytest.approx(profile.std(ddof=1) / 10, rel=0.01)
    assert found.lasting_error <= found.standard_error
    assert found.seeds_needed(0.05, lambda estimate: (0.1, np.inf)) is None
    assert compare(a.mean(1), np.array([0, 0.1, 0, 0])).lasting_error == 0


def test_scores_by_prompt_follow_the_two_way_formula() -> None:
    """V and df term by term, as published for two arms of S seeds and P prompts."""
    rng = np.random.default_rng(0)
    seeds, prompts = 4, 30
    a, b = (
        rng.normal(size=(seeds, 1)) / 3 + rng.normal(size=prompts) + rng.normal(size=(seeds, prompts)) for _ in "ab"
    )
    v_a, v_b = (y.mean(1).var(ddof=1) / seeds for y in (a, b))
    v_prompt = (a.mean(0) - b.mean(0)).var(ddof=1) / prompts
    squares = [((y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()) ** 2).sum() for y in (a, b)]
    v_e = sum(squares) / ((seeds - 1) * (prompts - 1)) / (seeds * prompts)
    v = max(v_a + v_b + v_prompt - v_e, max(v_a + v_b, v_prompt))
    df = v**2 / (
        (v_a**2 + v_b**2) / (seeds - 1) + v_prompt**2 / (prompts - 1) + v_e**2 / (2 * (seeds - 1) * (prompts - 1))
    )
    found = compare(a, b)
    half = stats.t.ppf(0.975, df) * np.sqrt(v)
    assert found.df == pytest.approx(df)
    assert (found.low, found.high) == pytest.approx((a.mean() - b.mean() - half, a.mean() - b.mean() + half))
    assert (found.n_seeds, found.n_items) == (seeds, prompts)


def test_fixed_prompts_leave_welch_on_the_runs_means() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 20)), rng.random((4, 20))
    fixed, runs = compare(a, b, fixed_prompts=True), compare(a.mean(1), b.mean(1))
    assert (fixed.low, fixed.high, fixed.df) == pytest.approx((runs.low, runs.high, runs.df))
    assert fixed.n_items == 20


def test_tasks_weigh_alike_whatever_their_size() -> None:
    a = np.array([[1.0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 0]])
    tasks = ["colors"] * 2 + ["counting"] * 4
    found = compare(a, np.zeros_like(a), tasks=tasks)
    assert found.estimate == pytest.approx((1 + 1 / 8) / 2)
    # Prompts vary within a task only: V_prompt is a quarter of 0 / 2 + var / 4.
    only = compare(a[:, 2:], np.zeros((2, 4)))
    assert found.standard_error == pytest.approx(only.standard_error / 2)


def test_one_task_is_no_task() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((3, 12)), rng.random((3, 12))
    assert compare(a, b, tasks=["x"] * 12) == compare(a, b)


def test_prompts_that_repeat_every_text_alike_say_what_texts_say() -> None:
    """Each text asked four times with one answer: as if every text had been asked once."""
    rng = np.random.default_rng(7)
    a, b = rng.random((3, 12)), rng.random((3, 12))
    texts, tasks = list("abcdefghijkl"), ["x"] * 5 + ["y"] * 7
    once = compare(a, b, tasks=tasks)
    again = compare(*(np.repeat(y, 4, 1) for y in (a, b)), tasks=np.repeat(tasks, 4), texts=np.repeat(texts, 4))
    shuffled = rng.permutation(48)
    moved = [np.repeat(y, 4, 1)[:, shuffled] for y in (a, b)]
    labels = {"tasks": np.repeat(tasks, 4)[shuffled], "texts": np.repeat(texts, 4)[shuffled]}
    for found in (again, compare(*moved, **labels)):
        assert (found.low, found.high, found.df) == pytest.approx((once.low, once.high, once.df))
        assert (found.n_items, found.n_texts) == (48, 12)
    naive = compare(*(np.repeat(y, 4, 1) for y in (a, b)), tasks=np.repeat(tasks, 4))
    assert naive.high - naive.low < once.high - once.low and naive.n_texts == 48


def test_texts_of_other_sizes_follow_the_formula() -> None:
    """Seeds that do not differ leave V_prompt alone: squared sums of deviations by text, P and T by hand."""
    scores = np.array([1.0, 0, 1, 1, 0, 0])
    found = compare(np.tile(scores, (3, 1)), np.zeros((3, 6)), texts=["a", "a", "a", "b", "b", "c"])
    t = 36 / (9 + 4 + 1)
    v = ((2 - 1.5) ** 2 + (1 - 1.0) ** 2 + (0 - 0.5) ** 2) / 36 * t / (t - 1)
    assert found.standard_error == pytest.approx(np.sqrt(v)) and found.df == pytest.approx(t - 1)
    assert found.estimate == 0.5 and found.n_texts == 3


def test_texts_agree_with_statsmodels_where_they_are_of_one_size() -> None:
    regression = pytest.importorskip("statsmodels.regression.linear_model")
    rng = np.random.default_rng(8)
    texts = np.repeat(np.arange(20), 3)
    profile = rng.normal(size=20)[texts] + rng.normal(size=60)
    fitted = regression.OLS(profile, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": texts})
    found = compare(np.tile(profile, (3, 1)), np.zeros((3, 60)), texts=texts)
    assert found.standard_error == pytest.approx(float(fitted.bse[0]))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_paired_scores_by_run_give_the_paired_t_test_of_scipy(alpha: float) -> None:
    rng = np.random.default_rng(9)
    seed = rng.normal(size=4)
    a, b = seed + rng.normal(0, 0.3, (2, 4))
    found, scipy = compare(a, b, alpha=alpha, paired=True), stats.ttest_rel(a, b)
    expected = scipy.confidence_interval(1 - alpha)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.df == 3 and found.p_value() == pytest.approx(scipy.pvalue)
    with pytest.raises(ValueError, match="seed by seed, and they have 3 and 4 seeds"):
        compare(a, b[:3], paired=True)


def test_what_a_pair_shares_in_a_seed_costs_nothing_by_prompt() -> None:
    """Either of the seed or of seed and prompt; the degrees of freedom are at most those of seeds."""
    rng = np.random.default_rng(10)
    a, b = rng.random((2, 3, 40))
    shared = 5 * rng.normal(size=(3, 1)) + rng.normal(size=(3, 40))
    before, after = compare(a, b, paired=True), compare(a + shared, b + shared, paired=True)
    assert (before.low, before.high, before.df) == pytest.approx((after.low, after.high, after.df))
    assert before.df <= 2 < compare(a, b).df


def test_interval_and_p_value_agree() -> None:
    found = compare([1.0, 1.2, 1.4, 1.1], [0.9, 1.0, 0.8, 1.1])
    low, high = found.interval(found.p_value(0.0))
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-12)
    assert found.interval(0.05) == (found.low, found.high)


def test_scores_that_never_vary_have_no_standard_error() -> None:
    found = compare([0.1] * 3, [0.3] * 3)
    assert found.standard_error == 0 and found.low == found.high == pytest.approx(-0.2)
    assert found.p_value(0.0) == 0 and found.p_value(found.estimate) == 1


def test_bad_scores_are_refused() -> None:
    two = np.zeros((2, 3))
    with pytest.raises(ValueError, match="a: 1 seed says nothing"):
        compare([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="on the same prompts"):
        compare(two, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="on the same prompts"):
        compare(two, [1.0, 2.0])
    with pytest.raises(ValueError, match="b: NaN"):
        compare([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="2 labels for 3 prompts"):
        compare(two, two, tasks=["x", "y"])
    with pytest.raises(ValueError, match="single text"):
        compare(two, two, tasks=["x", "x", "y"])
    with pytest.raises(ValueError, match="single text"):
        compare(two, two, texts=["t", "t", "t"])
    with pytest.raises(ValueError, match="texts: 1 labels for 3 prompts"):
        compare(two, two, texts=["t"])
    with pytest.raises(ValueError, match=r"a: expected \[seeds\] or \[seeds, prompts\]"):
        compare(1.0, 2.0)


def test_weights_that_are_no_contrast_are_refused() -> None:
    cells = {"a": [1.0, 2.0], "b": [1.0, 3.0]}
    for weights in ({"a": 1, "b": -0.5}, {"a": 0, "b": 0}):
        with pytest.raises(ValueError, match="sum to zero"):
            contrast(cells, weights)
    with pytest.raises(ValueError, match="no scores of c; there: a, b"):
        contrast(cells, {"a": 1, "c": -1})


def simulate(rng: np.random.Generator, seeds: int, seed_sd: float, simulations: int) -> np.ndarray:
    """Shares of 4 images right of two equal arms on 200 prompts, `[simulations, arms, seeds, prompts]`: a logit model
    with effects of prompt (shared), prompt x arm and seed."""
    prompt = rng.normal(-0.5, 1.5, (simulations, 1, 1, 200)) + rng.normal(0, 0.5, (simulations, 2, 1, 200))
    logits = prompt + rng.normal(0, seed_sd, (simulations, 2, seeds, 1))
    return rng.binomial(4, expit(logits)) / 4


@pytest.mark.parametrize(("seeds", "seed_sd"), [(2, 0.25), (3, 0.0), (3, 0.25), (5, 0.0), (5, 0.5), (8, 0.25)])
def test_two_way_interval_covers(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(seeds)
    found = [compare(a, b) for a, b in simulate(rng, seeds, seed_sd, 1500)]
    covered = np.mean([result.low <= 0 <= result.high for result in found])
    assert 0.92 <= covered <= 0.99


def test_prompts_alone_would_not_cover() -> None:
    """Why seeds count: the interval over prompts of the same data misses nearly half of the time."""
    data = simulate(np.random.default_rng(3), 3, 0.25, 400)
    profile = data[:, 0].mean(1) - data[:, 1].mean(1)
    half = 1.96 * profile.std(axis=1, ddof=1) / np.sqrt(profile.shape[1])
    assert np.mean(np.abs(profile.mean(1)) <= half) < 0.75


@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_welch_interval_covers(seeds: int, ratio: float) -> None:
    rng = np.random.default_rng(seeds)
    a, b = rng.normal(size=(3000, seeds)), ratio * rng.normal(size=(3000, seeds))
    found = [compare(x, y) for x, y in zip(a, b, strict=True)]
    covered = np.mean([result.low <= 0 <= result.high for result in found])
    assert 0.92 <= covered <= 0.99
