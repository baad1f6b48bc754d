"""Mask2Former, from a tiny checkpoint with random weights whose class is set to COCO's mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.evaluation.detectors.base import Thresholds, score_name
from unimm.evaluation.detectors.mask2former import Mask2Former, mask_boxes


@pytest.fixture(scope="module")
def tiny(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("mask2former")


def test_objects_are_well_formed(
    tiny: Path, clip_folder: Path, photos: torch.Tensor, assert_well_formed: Callable[..., Any]
) -> None:
    detector = Mask2Former(Mask2Former.Config(source=str(tiny), colours=clip_folder))
    found = assert_well_formed(detector, photos)
    assert [set(objects) for objects in found] == [{"computer mouse"}] * 2
    assert all(len(objects["computer mouse"]) == 16 for objects in found)
    assert score_name(detector) == "GenEval-protocol, detector=mask2former/mask2former"
    assert not detector.model.training


def test_batches_do_not_change_the_objects(tiny: Path, clip_folder: Path, photos: torch.Tensor) -> None:
    detector = Mask2Former(Mask2Former.Config(source=str(tiny), colours=clip_folder))
    together, alone = detector.instances(photos)[1], detector.instances(photos[1:])[0]
    for a, b in zip(together, alone, strict=True):
        assert (a.name, a.box) == (b.name, b.box)
        assert a.score == pytest.approx(b.score, abs=1e-5)


def test_uncertain_objects_are_left_out(tiny: Path, clip_folder: Path, photos: torch.Tensor) -> None:
    thresholds = Thresholds(confidence=0.999, counting=0.999)
    config = Mask2Former.Config(source=str(tiny), colours=clip_folder, thresholds=thresholds)
    assert Mask2Former(config).detect(photos) == [{}, {}]


def test_boxes_hold_the_whole_mask() -> None:
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 3:7] = True
    masks[1, 5, 0] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 7, 4], [0, 5, 1, 6]]


def test_missing_weights_are_an_error(
    tiny: Path, clip_folder: Path, tmp_path: Path, copy_without: Callable[[Path, Path, str], Path]
) -> None:
    for source in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=f"cannot read a checkpoint from {source}: give a folder"):
            Mask2Former(Mask2Former.Config(source=str(source), colours=clip_folder))
    partial = copy_without(tiny, tmp_path, "class_predictor.weight")
    with pytest.raises(ValueError, match=r"lacks 1 weights of Mask2Former.*class_predictor\.weight"):
        Mask2Former(Mask2Former.Config(source=str(partial), colours=clip_folder))


def test_labels_of_other_data_are_refused(tiny: Path, clip_folder: Path, tmp_path: Path) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (tiny / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"bench"', '"wall"'))
    with pytest.raises(ValueError, match="no label for bench"):
        Mask2Former(Mask2Former.Config(source=str(tmp_path), colours=clip_folder))
