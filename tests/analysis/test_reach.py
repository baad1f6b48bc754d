"""Costs of reaching a target with censoring, and the ratio of two arms' costs from ranks."""

from __future__ import annotations

from itertools import product
from math import inf, log

import numpy as np
import pytest
from scipy import stats

from unimm.analysis.reach import CostBounds, SeenRatio, Speedup, cost_ratio, cost_to_reach, mann_whitney_cdf

COSTS = [1.0, 10.0, 100.0, 1000.0]


@pytest.mark.parametrize(
    ("scores", "cost"),
    [
        ([0.0, 0.4, 0.6, 0.7], CostBounds(10**1.5, 10**1.5)),  # half-way between checkpoints, on a logarithmic axis
        (
            [0.0, 0.6, 0.4, 0.7],
            CostBounds(10 ** (2 + 1 / 3), inf),
        ),  # the early crossing does not last, the last is unconfirmed
        ([0.0, 0.1, 0.2, 0.3], CostBounds(1000.0, inf)),  # never
        ([0.6, 0.6, 0.6, 0.6], CostBounds(0.0, 1.0)),  # before the first checkpoint
    ],
)
def test_cost_to_reach(scores: list[float], cost: CostBounds) -> None:
    found = cost_to_reach(COSTS, scores, 0.5)
    assert (found.low, found.high) == pytest.approx((cost.low, cost.high))


def test_curves_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="2 or more checkpoints"):
        cost_to_reach([1.0, 2.0], [0.1, 0.2, 0.3], 0.5)
    for costs, scores in (([2.0, 1.0], [0.1, 0.2]), ([0.0, 1.0], [0.1, 0.2]), ([1.0, 2.0], [0.1, np.nan])):
        with pytest.raises(ValueError, match="positive, ascending costs"):
            cost_to_reach(costs, scores, 0.5)


@pytest.mark.parametrize(("m", "n"), [(3, 3), (5, 5), (4, 7), (1, 6)])
def test_null_distribution_is_that_of_scipy(m: int, n: int) -> None:
    for u in range(m * n + 1):
        x = [position + 0.5 for position in _positions(m, n, u)]
        found = stats.mannwhitneyu(x, range(n), alternative="less", method="exact")
        assert found.statistic == u
        assert mann_whitney_cdf(m, n)[u] == pytest.approx(found.pvalue)


def _positions(m: int, n: int, u: int) -> list[float]:
    """Places of m values among n such that U = u; distinct places are not needed, only distinct values."""
    full, rest = divmod(u, n)
    counts = [n] * full + ([rest] if full < m else []) + [0] * (m - full - 1)
    return [count - 1 + k * 1e-3 for k, count in enumerate(counts)]


def seen(costs: list[float]) -> list[CostBounds]:
    return [CostBounds(cost, cost) for cost in costs]


def test_speedup_of_separate_arms() -> None:
    speedup = Speedup(seen([1.0, 1.1, 1.2, 0.9, 1.0]), seen([4.0, 4.2, 3.8, 4.1, 4.4]))
    low, high = speedup.interval(0.05)
    assert speedup.estimate == pytest.approx(log(4), abs=0.1)
    assert log(3.2) < low < speedup.estimate < high < log(5)
    assert speedup.p_value() == pytest.approx(2 / 252)
    assert speedup.note == "target reached by 5 of 5 against 5 of 5 runs, so ranks decide"


def test_runs_that_never_reach_the_target_count_as_slow() -> None:
    speedup = Speedup(seen([1.0, 1.1, 1.2, 0.9, 1.0]), [CostBounds(3.0, inf)] * 5)
    low, high = speedup.interval(0.05)
    assert low > log(2.5) and high == inf
    assert speedup.p_value() == pytest.approx(2 / 252)
    assert speedup.seeds_needed(0.05, lambda estimate: (0.1, 0.1)) is None
    mirrored = Speedup(speedup.slower, speedup.faster).interval(0.05)
    assert mirrored == (-inf, -low)


def test_arms_that_both_fail_say_nothing() -> None:
    speedup = Speedup([CostBounds(3.0, inf)] * 5, [CostBounds(3.0, inf)] * 5)
    assert speedup.estimate == 0 and speedup.interval(0.05) == (-inf, inf) and speedup.p_value() == 1


def test_runs_that_are_all_only_bounded_ask_for_no_seeds() -> None:
    for bound in (CostBounds(3.0, inf), CostBounds(0.0, 3.0)):
        assert Speedup([bound] * 3, [bound] * 3).seeds_needed(0.05, lambda estimate: (0.2, np.inf)) is None


def test_three_seeds_cannot_decide_at_five_percent() -> None:
    speedup = Speedup(seen([1.0, 2.0, 3.0]), seen([10.0, 20.0, 30.0]))
    assert speedup.interval(0.05) == (-inf, inf) and speedup.p_value() == pytest.approx(0.1)
    assert speedup.seeds_needed(0.05, lambda estimate: (0.2, np.inf)) == 4
    assert speedup.seeds_needed(0.05 / 8, lambda estimate: (0.2, np.inf)) == 6


@pytest.mark.parametrize("budget", [inf, 1.5])
def test_ratio_is_covered_with_and_without_censoring(budget: float) -> None:
    """True ratio 2, five seeds an arm, lognormal costs; with a budget of 1.5, most of the slow runs are censored."""
    rng = np.random.default_rng(0)
    costs = np.exp(rng.normal(0, 0.5, (1500, 2, 5))) * np.array([[1.0], [2.0]])
    covered = []
    for pair in costs:
        fast, slow = ([CostBounds(min(c, budget), c if c < budget else inf) for c in arm] for arm in pair)
        low, high = Speedup(fast, slow).interval(0.05)
        covered.append(low <= log(2) <= high)
    assert np.mean(covered) >= 0.94
    assert budget != inf or np.mean(covered) <= 0.99


def test_interval_and_p_value_agree() -> None:
    rng = np.random.default_rng(1)
    for alpha, shift in product((0.05, 0.1), (1.5, 3.0)):
        for _ in range(50):
            arms = [rng.lognormal(0, 0.5, 5), shift * rng.lognormal(0, 0.5, 5)]
            fast, slow = ([CostBounds(c, c if c < 3 else inf) for c in arm] for arm in arms)
            low, high = (speedup := Speedup(fast, slow)).interval(alpha)
            assert (low > 0 or high < 0) == (speedup.p_value() <= alpha)


def test_costs_that_were_all_seen_give_welchs_interval() -> None:
    fast, slow = [1.0, 1.1, 1.3], [3.6, 4.0, 4.4]
    ratio = cost_ratio(seen(fast), seen(slow))
    expected = stats.ttest_ind(np.log(slow), np.log(fast), equal_var=False)
    assert isinstance(ratio, SeenRatio) and ratio.estimate == pytest.approx(np.log(slow).mean() - np.log(fast).mean())
    assert ratio.p_value() == pytest.approx(expected.pvalue)
    assert ratio.interval(0.01) == pytest.approx(tuple(expected.confidence_interval(0.99)))
    for bounded in (CostBounds(4.0, inf), CostBounds(0.0, 1.0)):
        assert isinstance(cost_ratio(seen(fast), [*seen(slow[:2]), bounded]), Speedup)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spreads", [(0.2, 0.2), (0.1, 0.4)])
@pytest.mark.parametrize("budget", [inf, 2.0 * np.exp(0.2), 2.0])
def test_ratio_is_covered_whichever_way_the_runs_choose(
    seeds: int, spreads: tuple[float, float], budget: float
) -> None:
    """True ratio 2, lognormal costs; nearly none, a part or nearly all of the comparisons meet a censored run."""
    rng = np.random.default_rng(2)
    costs = np.exp(np.array(spreads)[:, None] * rng.standard_normal((1500, 2, seeds))) * np.array([[1.0], [2.0]])
    covered, decided = [], []
    for pair in costs:
        fast, slow = ([CostBounds(min(c, budget), c if c < budget else inf) for c in arm] for arm in pair)
        low, high = cost_ratio(fast, slow).interval(0.05)
        covered.append(low <= log(2) <= high)
        decided.append(low > 0)
    assert np.mean(covered) >= 0.93
    assert budget != inf or (np.mean(covered) <= 0.99 and np.mean(decided) >= 0.35)


def test_equal_arms_are_told_apart_no_more_often_than_alpha_allows() -> None:
    rng = np.random.default_rng(3)
    costs = rng.lognormal(0, 0.3, (2000, 2, 3))
    found = []
    for pair in costs:
        fast, slow = ([CostBounds(min(c, 1.5), c if c < 1.5 else inf) for c in arm] for arm in pair)
        found.append(cost_ratio(fast, slow).p_value() <= 0.05)
    assert 0.01 <= np.mean(found) <= 0.06
