"""What t tests find: Welch's as it is run, by simulation with scipy's own, and seed-by-seed contrasts exactly."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from unimm.analysis.power import (
    PAIR,
    Room,
    Spread,
    half_width,
    minimum_detectable_effect,
    power,
    same_spread,
    seeds_needed,
    smallest_rank_p,
)

PRIMARY = 0.05 / 6
STUDIES = 40_000


def welch(seeds: int, effect: float, spreads: tuple[float, float], alpha: float) -> tuple[float, float]:
    """How often scipy's Welch test finds the effect, and the median half-width of its interval."""
    rng = np.random.default_rng(seeds)
    a, b = (rng.normal(mean, sd, (STUDIES, seeds)) for mean, sd in zip((effect, 0), spreads, strict=True))
    test = stats.ttest_ind(a, b, axis=1, equal_var=False)
    interval = test.confidence_interval(1 - alpha)
    found = (test.pvalue <= alpha) & (test.statistic > 0)
    return float(found.mean()), float(np.median(interval.high - interval.low) / 2)


@pytest.mark.parametrize(
    ("seeds", "spreads", "alpha"),
    [
        (2, (1.0, 1.0), 0.05),
        (3, (1.0, 1.0), 0.05),
        (3, (1.0, 1.0), PRIMARY),
        (3, (1.0, 3.0), PRIMARY),
        (5, (1.0, 0.1), PRIMARY),
        (10, (1.0, 1.0), PRIMARY),
    ],
)
def test_an_effect_found_four_times_in_five_is(seeds: int, spreads: tuple[float, float], alpha: float) -> None:
    spread = Spread((spreads[0] ** 2, spreads[1] ** 2))
    effect = minimum_detectable_effect(seeds, alpha=alpha, spread=spread)
    assert power(seeds, effect, alpha=alpha, spread=spread) == pytest.approx(0.8, abs=1e-6)
    found, half = welch(seeds, effect, spreads, alpha)
    assert found == pytest.approx(0.8, abs=0.01)
    assert half_width(seeds, alpha=alpha, spread=spread) == pytest.approx(half, rel=0.02)


def test_three_seeds_find_less_than_students_test_would_promise() -> None:
    """5.04 standard deviations: Student's df = 2 (S - 1) say 80 % at this level, the test that is run finds 57 %."""
    student = stats.nct.sf(stats.t.isf(PRIMARY / 2, 4), 4, 5.04 / sqrt(2 / 3))
    assert student == pytest.approx(0.8, abs=0.005)
    assert power(3, 5.04, alpha=PRIMARY) == pytest.approx(0.57, abs=0.005)
    assert power(3, 5.04, alpha=PRIMARY) == pytest.approx(welch(3, 5.04, (1, 1), PRIMARY)[0], abs=0.01)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_one_value_a_seed_has_the_power_of_the_noncentral_t(seeds: int) -> None:
    main = same_spread([0.25] * 4 + [-0.25] * 4, by_seed=True)
    assert main.terms == (0.5,)
    error, critical = sqrt(0.5 / seeds), stats.t.isf(PRIMARY / 2, seeds - 1)
    for effect in (0.5, 2.0, 4.0):
        exact = stats.nct.sf(critical, seeds - 1, effect / error)
        assert power(seeds, effect, alpha=PRIMARY, spread=main) == pytest.approx(exact, abs=1e-3)
    median = critical * error * sqrt(stats.chi2.median(seeds - 1) / (seeds - 1))
    assert half_width(seeds, alpha=PRIMARY, spread=main) == pytest.approx(median, rel=1e-3)


def test_what_arms_of_one_side_share_adds_its_square() -> None:
    weights = [0.25] * 4 + [-0.25] * 4
    assert same_spread(weights, by_seed=True, shared=2.0).terms == (4.5,)
    promised = minimum_detectable_effect(3, alpha=PRIMARY, spread=same_spread(weights, by_seed=True))
    found = power(3, promised, alpha=PRIMARY, spread=same_spread(weights, by_seed=True, shared=2.0))
    assert found == pytest.approx(0.17, abs=0.01)


def test_pairs_by_seed_have_a_degree_of_freedom_a_seed() -> None:
    by_seed, apart = (same_spread([1, -1], by_seed=paired) for paired in (True, False))
    assert by_seed.terms == (2,) and apart == PAIR
    assert power(3, 5.0, alpha=PRIMARY, spread=by_seed) < power(3, 5.0, alpha=PRIMARY, spread=apart)


def test_prompts_stay_whatever_the_seeds() -> None:
    """With endless seeds the prompts' error is left, and z decides."""
    spread = Spread((1.0, 1.0), lasting=0.25)
    normal = float(stats.norm.sf(stats.norm.isf(0.025) - 2.0))
    assert power(10_000, 1.0, spread=spread) == pytest.approx(normal, abs=2e-3)


def test_effects_are_in_the_unit_of_the_spread() -> None:
    small = Spread((0.02**2, 0.02**2))
    assert minimum_detectable_effect(5, spread=small) == pytest.approx(0.02 * minimum_detectable_effect(5))


@pytest.mark.parametrize("terms", [(), (1.0, 1.0, 1.0), (-1.0, 2.0), (0.0, 0.0)])
def test_a_spread_has_one_or_two_terms(terms: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one or two terms"):
        Spread(terms)


@pytest.mark.parametrize(("seeds", "p"), [(2, 0.33), (3, 0.10), (4, 0.029), (5, 0.0079), (6, 0.0022)])
def test_ranks_have_a_smallest_p_value(seeds: int, p: float) -> None:
    assert smallest_rank_p(seeds) == pytest.approx(p, rel=0.02)


def decided(seeds: int, spread: float, room: Room, alpha: float) -> float:
    """How often new studies of two arms end their Welch interval inside `room` around the true effect, 0."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, spread, (2, STUDIES, seeds))
    interval = stats.ttest_ind(a, b, axis=1, equal_var=False).confidence_interval(1 - alpha)
    return float(np.mean((interval.low > -room[0]) & (interval.high < room[1])))


@pytest.mark.parametrize(
    ("room", "alpha"), [((0.05, inf), 0.05), ((inf, 0.02), PRIMARY), ((0.03, 0.03), PRIMARY), ((0.05, 0.03), 0.05)]
)
def test_seeds_needed_decide_four_times_in_five(room: Room, alpha: float) -> None:
    """A support, a contradiction, and "negligible" around 0 and beside it: enough, and one seed fewer is not."""
    sd = 0.03
    needed = seeds_needed(3, sd * sqrt(2 / 3), 4, room, alpha=alpha)
    assert needed is not None and needed > 6
    assert decided(needed, sd, room, alpha) > 0.79 > decided(needed - 2, sd, room, alpha)


def test_no_number_of_seeds_takes_the_prompts_share_away() -> None:
    def needed(lasting: float) -> int | None:
        return seeds_needed(3, 0.03, 4, (0.04, inf), alpha=0.05, lasting_error=lasting)

    limit = 0.04 / (stats.norm.isf(0.025) + stats.norm.isf(0.2))
    found = [needed(error) for error in (0.0, 0.01, 0.012, 0.99 * limit)]
    assert None not in found and found == sorted(found) and found[-1] > 5 * found[0]
    assert needed(1.01 * limit) is None


def test_an_estimate_outside_of_the_margin_never_becomes_negligible() -> None:
    assert seeds_needed(3, 0.03, 4, (0.3, -0.1), alpha=0.05) is None


def test_seeds_needed_are_at_least_those_there() -> None:
    assert seeds_needed(5, 0.001, 8, (0.02, inf), alpha=0.05) == 5
    assert seeds_needed(5, 0.0, 8, (0.02, inf), alpha=0.05) == 5


def test_one_seed_plans_nothing() -> None:
    with pytest.raises(ValueError, match="plan for 2 or more"):
        half_width(1)


def test_few_seeds_and_many_claims_still_have_an_answer() -> None:
    assert minimum_detectable_effect(2, alpha=0.05 / 11) > minimum_detectable_effect(2) > 0
