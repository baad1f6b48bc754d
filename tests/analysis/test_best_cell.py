"""The smallest of several contrasts: intersection-union below, Bonferroni above, and coverage at the worst case."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.analysis.contrast import compare
from unimm.analysis.measure import Lead


def lead(best: np.ndarray, *rivals: np.ndarray) -> Lead:
    return Lead({f"rival {k}": compare(best, rival) for k, rival in enumerate(rivals)})


def test_the_strongest_rival_decides() -> None:
    rng = np.random.default_rng(0)
    best, weak, strong = (mean + rng.normal(0, 0.1, 5) for mean in (2.0, 0.0, 1.0))
    found = lead(best, weak, strong)
    assert found.estimate == compare(best, strong).estimate
    assert found.interval(0.05)[0] == compare(best, strong).low
    assert found.interval(0.05)[1] == compare(best, strong, alpha=0.025).high
    assert found.note == "strongest rival: rival 1"
    assert (found.n_seeds, found.n_items) == (5, None)


def test_one_rival_is_a_comparison() -> None:
    a, b = np.array([1.0, 1.2, 1.1]), np.array([0.8, 1.3, 0.9])
    assert lead(a, b).interval(0.05) == compare(a, b).interval(0.05)
    assert lead(a, b).p_value() == compare(a, b).p_value()


def test_one_rival_ahead_is_enough_to_contradict() -> None:
    """Another one that nobody can tell apart from the best does not ask for more seeds."""
    best, ahead, alike = np.array([0.0, 0.6, 0.3]), np.array([0.5, 1.1, 1.0]), np.array([0.0, 0.59, 0.3])
    found = lead(best, ahead, alike)

    def room(estimate: float) -> tuple[float, float]:
        return (estimate, np.inf) if estimate > 0 else (np.inf, -estimate)

    assert found.rivals["rival 1"].seeds_needed(0.05, room) > 1000
    assert found.seeds_needed(0.05, room) == found.rivals["rival 0"].seeds_needed(0.025, room) < 20
    behind = lead(best + 0.9, ahead, alike)
    each = [rival.seeds_needed(0.05, room, 0.9) for rival in behind.rivals.values()]
    assert behind.seeds_needed(0.05, room) == max(each) > 5, "two contrasts have a chance in ten each to miss"


@pytest.mark.parametrize("mean", [-1.0, 0.0, 2.5])
def test_interval_and_p_value_agree(mean: float) -> None:
    rng = np.random.default_rng(1)
    for best, *rivals in rng.normal(size=(60, 4, 4)):
        found = lead(best + mean, *rivals)
        low, high = found.interval(0.05)
        assert (low > 0 or high < 0) == (found.p_value() <= 0.05)


def test_equal_arms_are_rarely_called_best_or_beaten() -> None:
    rng = np.random.default_rng(2)
    outcomes = [lead(best, *rivals).p_value() <= 0.05 for best, *rivals in rng.normal(size=(1000, 4, 4))]
    assert np.mean(outcomes) <= 0.05
