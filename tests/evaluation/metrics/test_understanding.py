"""Understanding scores by hand: accuracy by kind, chance, overall, and standard errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from unimm.evaluation.metric import Answered, Evidence
from unimm.evaluation.metrics.understanding import Understanding


def test_accuracy_chance_and_errors_by_hand() -> None:
    answers = [
        *(Answered("exists", right, 1 / 2, image) for image, right in enumerate([True, True, False, True])),
        *(Answered("colour", right, 1 / 6, 10 + image) for image, right in enumerate([True, False])),
    ]
    scores = {s.name: s for s in Understanding(Understanding.Config(), None).score(Evidence(answers=answers))}
    assert set(scores) == {"understanding/exists", "understanding/colour", "understanding/overall"}
    exists, colour, overall = (scores[f"understanding/{name}"] for name in ("exists", "colour", "overall"))
    assert (exists.value, exists.n, exists.items) == (0.75, 4, [1, 1, 0, 1])
    assert (colour.value, colour.n) == (0.5, 2)
    assert (overall.value, overall.n) == (pytest.approx(0.625), 6)
    assert [s.protocol["chance"] for s in (exists, colour, overall)] == pytest.approx([1 / 2, 1 / 6, 1 / 3])
    assert exists.stderr == pytest.approx(stats.sem([1, 1, 0, 1]))


def test_questions_about_one_image_count_as_one_cluster() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(30) < 0.6
    both = [Answered(kind, bool(r), 0.5, i) for kind in ("exists", "count") for i, r in enumerate(right)]
    apart = [Answered(a.kind, a.correct, 0.5, n) for n, a in enumerate(both)]
    errors = [
        Understanding(Understanding.Config(), None).score(Evidence(answers=answers))[-1].stderr
        for answers in (both, apart)
    ]
    assert errors[0] == pytest.approx(stats.sem(right.astype(float)))
    assert errors[1] == pytest.approx(errors[0] / np.sqrt(2), rel=0.02)


def test_above_blind_pairs_answers_question_by_question() -> None:
    """A backbone that knows which answers are frequent is right without looking, and gains nothing here."""
    right, guessed = [True, True, False, True, True, False], [True, False, True, False, True, False]
    kinds = ["exists"] * 4 + ["colour"] * 2
    answers, blind = (
        [Answered(kind, known, 1 / 2, image) for image, (kind, known) in enumerate(zip(kinds, own, strict=True))]
        for own in (right, guessed)
    )
    evidence = Evidence(answers=answers, blind_answers=blind)
    scores = {s.name: s for s in Understanding(Understanding.Config(), None).score(evidence)}
    exists, colour, overall = (scores[f"understanding/above_blind{kind}"] for kind in ("/exists", "/colour", ""))
    assert exists.items == [0, 1, -1, 1] and exists.value == 0.25 and exists.unit == "question"
    assert exists.stderr == pytest.approx(stats.sem([0, 1, -1, 1]))
    assert colour.items == [0, 0] and colour.value == 0
    assert overall.value == pytest.approx(0.125) and overall.n == 6
    assert overall.protocol["mean of"] == ["understanding/above_blind/exists", "understanding/above_blind/colour"]
    difference = scores["understanding/overall"].value - float(np.mean([np.mean(guessed[:4]), np.mean(guessed[4:])]))
    assert overall.value == pytest.approx(difference)


def test_the_blind_floor_and_the_ceiling_of_above_blind() -> None:
    blind = [Answered("exists", known, 1 / 2, image) for image, known in enumerate([True, False, False, True, False])]
    right = [answer._replace(correct=True) for answer in blind]
    metric = Understanding(Understanding.Config(), None)
    floor, ceiling = (metric.score(Evidence(answers=own, blind_answers=blind))[-1] for own in (blind, right))
    assert floor.name == ceiling.name == "understanding/above_blind"
    assert (floor.value, ceiling.value) == (0, pytest.approx(0.6))


def test_answers_to_other_questions_are_not_paired() -> None:
    answers = [Answered("exists", True, 1 / 2, image) for image in (0, 1)]
    with pytest.raises(ValueError, match="answers with and without the image pair by question"):
        Understanding(Understanding.Config(), None).score(Evidence(answers=answers, blind_answers=answers[::-1]))
