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
