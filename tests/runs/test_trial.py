"""What needs no training is chosen one setting after the other, and nothing is sampled twice."""

from __future__ import annotations

from unimm.runs.record import Evaluation
from unimm.runs.trial import choose

OPTIONS = {"training.ema_decay": [0.9, 0.99], "objective.guidance": [1.0, 3.0, 5.0]}
OWN = {"training.ema_decay": 0.99, "objective.guidance": 3.0}


def test_settings_are_chosen_in_turn_from_the_best_so_far() -> None:
    def score(settings: dict) -> float:
        return settings["training.ema_decay"] - abs(settings["objective.guidance"] - 5) / 10

    found = choose(score, OWN, OPTIONS)
    assert [tuple(evaluation.settings.values()) for evaluation in found] == [
        (0.99, 3.0),
        (0.9, 3.0),
        (0.99, 1.0),
        (0.99, 5.0),
    ]
    assert max(found, key=lambda evaluation: evaluation.value).settings == {**OWN, "objective.guidance": 5.0}


def test_a_tie_keeps_the_arms_own_settings_and_a_missing_score_is_worst() -> None:
    tied = choose(lambda _: 0.5, OWN, OPTIONS)
    assert tied[0].settings == OWN == max(tied, key=lambda evaluation: evaluation.value).settings
    scores = {1.0: 0.0, 3.0: None, 5.0: None}
    found = choose(
        lambda settings: scores[settings["objective.guidance"]], OWN, {"objective.guidance": [1.0, 3.0, 5.0]}
    )
    assert [evaluation.value for evaluation in found] == [None, 0.0, None]
    followed = choose(lambda s: scores[s["objective.guidance"]], OWN, {"objective.guidance": [1.0], "x": [1]})
    assert followed[-1] == Evaluation(settings={**OWN, "objective.guidance": 1.0, "x": 1}, value=0.0)


def test_an_arm_with_nothing_to_choose_is_scored_once() -> None:
    assert choose(lambda _: 0.5, {}, {}) == [Evaluation(settings={}, value=0.5)]
