"""Retention: counts by hand, Agresti and Min's example, coverage by simulation, and no certainty without flips."""

from __future__ import annotations

import numpy as np
import pytest

from unimm.evaluation.metric import Answered
from unimm.evaluation.metrics.understanding import as_result, retention


def answers(kind: str, correct: list[bool] | np.ndarray) -> list[Answered]:
    return [Answered(kind, bool(c), 0.5, i) for i, c in enumerate(correct)]


def test_flips_and_means_by_hand() -> None:
    before = answers("count", [1, 1, 1, 0, 0]) + answers("exists", [1, 0])
    after = answers("count", [1, 0, 0, 1, 0]) + answers("exists", [1, 1])
    found = retention(before, after)
    assert list(found) == ["exists", "count", "overall"]
    assert found["count"][:4] == (5, 0.6, 0.4, pytest.approx(-0.2))
    assert (found["count"].gained, found["count"].lost) == (1, 2)
    overall = found["overall"]
    assert (overall.n, overall.gained, overall.lost) == (7, 2, 2)
    assert (overall.before, overall.after, overall.effect) == (
        pytest.approx(0.55),
        pytest.approx(0.7),
        pytest.approx(0.15),
    )


def test_the_interval_is_that_of_the_textbook() -> None:
    # Agresti's approval survey (Categorical Data Analysis, 10.1): 944 approved in the first, 880 in the second.
    before, after = np.repeat([[1, 1, 0, 0], [1, 0, 1, 0]], [794, 150, 86, 570], axis=1)
    change = retention(answers("exists", before), answers("exists", after))["exists"]
    assert (change.n, change.lost, change.gained) == (1600, 150, 86)
    assert (change.effect, change.low, change.high) == pytest.approx((-0.040, -0.059, -0.021), abs=0.001)


def test_no_flips_leave_room_for_doubt() -> None:
    change = retention(answers("exists", [1] * 75), answers("exists", [1] * 75))["exists"]
    assert change.effect == 0
    assert (change.low, change.high) == pytest.approx((-1.96 / 77, 1.96 / 77), abs=1e-4)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_intervals_cover_the_truth(shift: float) -> None:
    rng, covered, draws = np.random.default_rng(0), 0, 400
    for _ in range(draws):
        pairs = {kind: rng.random((2, 40)) for kind in ("exists", "count", "colour", "relation")}
        before = [a for kind, (x, _) in pairs.items() for a in answers(kind, x < 0.5)]
        after = [
            a
            for kind, (x, y) in pairs.items()
            for a in answers(kind, np.where(y < 0.3, y < 0.15 + 0.3 * shift, x < 0.5))
        ]
        overall = retention(before, after)["overall"]
        covered += overall.low <= 0.3 * shift <= overall.high
    assert covered / draws > 0.92


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="the same questions"):
        retention(answers("exists", [1]), answers("count", [1]))


def test_a_frozen_backbone_has_no_interval_and_one_from_language_no_before() -> None:
    before = answers("exists", [1, 0])
    frozen = as_result("understanding", True, before, before)
    assert frozen["exact"] and frozen["kinds"]["exists"]["effect"] == 0
    assert frozen["kinds"]["exists"]["low"] is None and frozen["kinds"]["overall"]["high"] is None
    assert as_result("language", False, None, before) == {"start": "language", "exact": False, "kinds": {}}


def test_the_same_kinds_about_other_images_are_refused() -> None:
    before = answers("exists", [1, 0])
    with pytest.raises(ValueError, match="the same questions"):
        retention(before, before[::-1])
