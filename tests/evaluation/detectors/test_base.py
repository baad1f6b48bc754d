"""Which objects count for a prompt, and what a score may be called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector, Thresholds, check_images, objects_for, score_name
from unimm.evaluation.detectors.instances import RENAMED, geneval_names
from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.geneval.prompts import OBJECT_NAMES
from unimm.scenes.geneval_rules import compute_iou

COLORS, COUNTING = {"tag": "colors"}, {"tag": "counting"}


def box(score: float, left: float = 0.0) -> list[Any]:
    return [left, 0.0, left + 9, 9.0, score, "red"]


def test_counting_needs_more_confidence_and_thresholds_are_strict() -> None:
    objects = {"cow": [box(0.95), box(0.9), box(0.31), box(0.3)], "dog": [box(0.2)]}
    assert objects_for(objects, COLORS) == {"cow": [box(0.95), box(0.9), box(0.31)]}
    assert objects_for(objects, COUNTING) == {"cow": [box(0.95)]}
    assert objects_for(objects, COUNTING, Thresholds(confidence=0, counting=0)) == objects


def test_sixteen_are_taken_before_overlaps_are_dropped() -> None:
    boxes = [box(0.99 - n / 1000) for n in range(MAX_OBJECTS)] + [box(0.9, left=100)]
    assert objects_for({"cow": boxes}, COLORS) == {"cow": boxes[:MAX_OBJECTS]}
    assert objects_for({"cow": boxes}, COLORS, Thresholds(overlap=0.5)) == {"cow": boxes[:1]}


@settings(max_examples=50, deadline=None)
@given(lefts=st.lists(st.integers(0, 30), max_size=20), overlap=st.sampled_from([0.2, 0.5, 0.9]))
def test_kept_boxes_stay_apart_and_dropped_ones_had_a_reason(lefts: list[int], overlap: float) -> None:
    boxes = [box(0.9 - n / 100, left) for n, left in enumerate(lefts)]
    kept = objects_for({"cow": boxes}, COLORS, Thresholds(overlap=overlap)).get("cow", [])
    assert all(compute_iou(a, b) < overlap for a in kept for b in kept if a is not b)
    for dropped in (b for b in boxes[:MAX_OBJECTS] if b not in kept):
        assert any(compute_iou(dropped, b) >= overlap and b[4] > dropped[4] for b in kept)


def test_no_detector_here_is_called_geneval() -> None:
    assert score_name(Scenes(Scenes.Config())) == "GenEval-protocol, detector=scenes-judge"

    class Official(Detector):
        official = True
        name = "mmdet"

        def __init__(self) -> None: ...

        def detect(self, images: torch.Tensor) -> list[dict[str, list[list[Any]]]]:
            raise NotImplementedError

    assert score_name(Official()) == "GenEval"


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_other_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 images \[B, 3, H, W\]"):
        check_images(images)


def test_labels_get_genevals_names() -> None:
    labels = [{name: label for label, name in RENAMED.items()}.get(name, name) for name in OBJECT_NAMES]
    assert geneval_names(labels) == list(OBJECT_NAMES)
    with pytest.raises(ValueError, match="no label for person, bicycle"):
        geneval_names(["LABEL_0", *labels[2:]])
