"""Our decision rules against input and output pairs of the official GenEval functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unimm.evaluation.geneval.files import compute_iou, evaluate_image, relative_position, task_scores

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "geneval_vectors.json").read_text())


def test_vectors_name_their_source() -> None:
    assert "djghosh13/geneval" in VECTORS["source"]
    assert len(VECTORS["evaluate"]) == 400


def test_relative_position_agrees() -> None:
    threshold = VECTORS["position_threshold"]
    for a, b, expected in VECTORS["relative_position"]:
        assert relative_position(a, b, threshold) == set(expected)


def test_compute_iou_agrees() -> None:
    for a, b, expected in VECTORS["compute_iou"]:
        assert compute_iou(a, b) == pytest.approx(expected, abs=1e-12)


def test_evaluate_agrees() -> None:
    """Reasons whose order is random in the official code are null in the vectors, or list relations with 'and'."""
    for case in VECTORS["evaluate"]:
        correct, reason = evaluate_image(case["objects"], case["metadata"])
        assert correct == case["correct"], case
        expected = case["reason"]
        if expected is not None:
            words = [sorted(line.split()) for line in reason.splitlines()]
            assert words == [sorted(line.split()) for line in expected.splitlines()], case


def test_identical_boxes_hold_no_relation() -> None:
    assert relative_position([0, 0, 10, 10], [0, 0, 10, 10]) == set()


def test_the_gap_must_exceed_a_fifth_of_the_sizes() -> None:
    far, near = [40.001, 0, 140.001, 100], [40, 0, 140, 100]
    assert relative_position([0, 0, 100, 100], far) == {"left of"}
    assert relative_position([0, 0, 100, 100], near) == set()


def test_extra_objects_fail_only_counting() -> None:
    boxes = [[0, 0, 5, 5, 0.9, "red"], [10, 10, 15, 15, 0.8, "blue"]]
    single = {"tag": "single_object", "include": [{"class": "star", "count": 1}]}
    assert evaluate_image({"star": boxes}, single) == (True, "")
    counting = {**single, "tag": "counting", "exclude": [{"class": "star", "count": 2}]}
    assert evaluate_image({"star": boxes}, counting) == (False, "expected star<2, found 2")


def test_colours_are_read_from_the_first_boxes_only() -> None:
    boxes = [[0, 0, 5, 5, 0.9, "red"], [10, 10, 15, 15, 0.8, "blue"]]
    metadata = {"tag": "colors", "include": [{"class": "star", "count": 1, "color": "blue"}]}
    assert not evaluate_image({"star": boxes}, metadata)[0]
    assert evaluate_image({"star": boxes[::-1]}, metadata)[0]


def test_overall_is_the_plain_mean_of_the_tags() -> None:
    rows = [{"tag": "a", "correct": c} for c in (1, 0, 0, 0)] + [{"tag": "b", "correct": True}]
    scores = task_scores(rows)
    assert scores == {
        "a": {"score": 0.25, "n": 4},
        "b": {"score": 1.0, "n": 1},
        "overall": {"score": 0.625, "n": 5},
    }
    with pytest.raises(ValueError, match="no rows"):
        task_scores([])
