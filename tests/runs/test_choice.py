"""How a trial chooses what needs no training: one setting after the other, nothing is sampled twice, ties are ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from unimm.runs.choice import SamplingValues, best_of, choose, lost_in_turn
from unimm.runs.trial import Looked
from unimm.runs.trial_record import Evaluation

OPTIONS = {"training.ema_length": [0.05, 0.2], "objective.guidance": [1.0, 3.0, 5.0]}
OWN = {"training.ema_length": 0.2, "objective.guidance": 3.0}


@dataclass(frozen=True)
class Fixed:
    """A look with a known error of every difference."""

    value: float | None
    stderr: float | None = 0.04

    def difference_stderr(self, other: Fixed) -> float | None:
        return 0.03


def looks(score: Callable[[SamplingValues], float | None]) -> Callable[[SamplingValues], Fixed]:
    return lambda settings: Fixed(score(settings))


def test_settings_are_chosen_in_turn_from_the_best_so_far() -> None:
    def score(settings: dict) -> float:
        return settings["training.ema_length"] - abs(settings["objective.guidance"] - 5) / 10

    found = choose(looks(score), OWN, OPTIONS)
    assert [tuple(evaluation.settings.values()) for evaluation in found] == [
        (0.2, 3.0),
        (0.05, 3.0),
        (0.2, 1.0),
        (0.2, 5.0),
    ]
    assert best_of(found).settings == {**OWN, "objective.guidance": 5.0}
    assert [(lost.key, tuple(lost.evaluation.settings.values())) for lost in lost_in_turn(found, list(OPTIONS))] == [
        ("training.ema_length", (0.05, 3.0)),
        ("objective.guidance", (0.2, 3.0)),
        ("objective.guidance", (0.2, 1.0)),
    ]
    assert [evaluation.behind_stderr for evaluation in found] == [0.03, 0.03, 0.03, None]


def test_a_tie_keeps_the_arms_own_settings_and_a_missing_score_is_worst() -> None:
    tied = choose(looks(lambda _: 0.5), OWN, OPTIONS)
    assert tied[0].settings == OWN == best_of(tied).settings
    assert all(lost.is_tie and not lost.is_unresolved for lost in lost_in_turn(tied, list(OPTIONS)))
    scores = {1.0: 0.0, 3.0: None, 5.0: None}
    found = choose(
        looks(lambda settings: scores[settings["objective.guidance"]]), OWN, {"objective.guidance": [1.0, 3.0, 5.0]}
    )
    assert [evaluation.value for evaluation in found] == [None, 0.0, None]
    assert not any(lost.is_tie or lost.is_unresolved for lost in lost_in_turn(found, ["objective.guidance"]))
    followed = choose(looks(lambda s: scores[s["objective.guidance"]]), OWN, {"objective.guidance": [1.0], "x": [1]})
    assert followed[-1].settings == {**OWN, "objective.guidance": 1.0, "x": 1} and followed[-1].value == 0.0


def test_what_lies_behind_by_less_than_the_error_is_not_resolved() -> None:
    scores = {1.0: 0.47, 3.0: 0.46, 5.0: 0.48}
    found = choose(looks(lambda s: scores[s["objective.guidance"]]), OWN, {"objective.guidance": [1.0, 5.0]})
    lost = {other.evaluation.settings["objective.guidance"]: other for other in lost_in_turn(found, list(OPTIONS)[1:])}
    assert lost[1.0].is_unresolved and lost[3.0].is_unresolved and not lost[1.0].is_tie
    scores[3.0] = 0.44
    found = choose(looks(lambda s: scores[s["objective.guidance"]]), OWN, {"objective.guidance": [1.0, 5.0]})
    assert not lost_in_turn(found, list(OPTIONS)[1:])[0].is_unresolved, "more than its error is resolved"


def test_an_older_record_without_errors_still_shows_its_ties() -> None:
    found = [Evaluation.model_validate({"settings": {"a": a}, "value": 0.5}) for a in (3, 1, 2)]
    assert [lost.is_tie for lost in lost_in_turn(found, ["a"])] == [True, True]
    assert best_of(found).settings == {"a": 3}


def test_an_arm_with_nothing_to_choose_is_scored_once() -> None:
    assert choose(looks(lambda _: 0.5), {}, {}) == [Evaluation(settings={}, value=0.5, stderr=0.04)]


def test_the_error_of_a_difference_is_that_of_the_paired_differences() -> None:
    draws = np.random.default_rng(0)
    first = draws.random(40)
    second = first + draws.normal(0, 0.1, 40)
    texts = [f"prompt {i}" for i in range(40)]
    one, other = (Looked(float(items.mean()), 0.05, [items.tolist()], texts) for items in (first, second))
    expected = (second - first).std(ddof=1) / np.sqrt(40)
    assert one.difference_stderr(other) == pytest.approx(expected) == other.difference_stderr(one)
    assert one.difference_stderr(one) is None, "nothing varies: a tie"
    gaps = Looked(0.5, 0.05, [[1.0, None, 0.0], [None, 0.5, 0.5]], texts[:3])
    assert gaps.difference_stderr(Looked(0.4, 0.05, [[0.0, None, 0.0], [None, 0.5, 0.0]], texts[:3])) is not None
