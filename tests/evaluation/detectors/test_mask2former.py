"""Mask2Former, from a tiny checkpoint with random weights whose class is set to COCO's mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.evaluation.detectors.base import Thresholds, score_name
from unimm.evaluation.detectors.mask2former import Mask2Former, mask_boxes

MOUSE = 64


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, coco_labels: list[str]) -> Path:
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        SwinConfig,
    )

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    stages = [f"stage{n}" for n in (1, 2, 3, 4)]
    swin = SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=2, out_features=stages)
    sizes = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_attention_heads": 2}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_feedforward_dim": 16, "dim_feedforward": 16}
    labels = dict(enumerate(coco_labels))
    torch.manual_seed(0)
    model = Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=swin, num_queries=20, id2label=labels, **sizes, **layers)
    )
    with torch.no_grad():
        model.class_predictor.bias[MOUSE] = 10.0
    model.save_pretrained(folder)
    Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)
    return folder


def test_objects_are_well_formed(
    checkpoint: Path, clip_folder: Path, photos: torch.Tensor, assert_well_formed: Callable[..., Any]
) -> None:
    detector = Mask2Former(Mask2Former.Config(source=str(checkpoint), colours=clip_folder))
    found = assert_well_formed(detector, photos)
    assert [set(objects) for objects in found] == [{"computer mouse"}] * 2
    assert all(len(objects["computer mouse"]) == 16 for objects in found)
    assert score_name(detector) == "GenEval-protocol, detector=mask2former/tiny"
    assert not detector.model.training


def test_batches_do_not_change_the_objects(checkpoint: Path, clip_folder: Path, photos: torch.Tensor) -> None:
    detector = Mask2Former(Mask2Former.Config(source=str(checkpoint), colours=clip_folder))
    together, alone = detector.instances(photos)[1], detector.instances(photos[1:])[0]
    for a, b in zip(together, alone, strict=True):
        assert (a.name, a.box) == (b.name, b.box)
        assert a.score == pytest.approx(b.score, abs=1e-5)


def test_uncertain_objects_are_left_out(checkpoint: Path, clip_folder: Path, photos: torch.Tensor) -> None:
    thresholds = Thresholds(confidence=0.999, counting=0.999)
    config = Mask2Former.Config(source=str(checkpoint), colours=clip_folder, thresholds=thresholds)
    assert Mask2Former(config).detect(photos) == [{}, {}]


def test_boxes_hold_the_whole_mask() -> None:
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 3:7] = True
    masks[1, 5, 0] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 7, 4], [0, 5, 1, 6]]


def test_missing_weights_are_an_error(
    checkpoint: Path, clip_folder: Path, tmp_path: Path, copy_without: Callable[[Path, Path, str], Path]
) -> None:
    for source in (tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=f"cannot read a checkpoint from {source}: give a folder"):
            Mask2Former(Mask2Former.Config(source=str(source), colours=clip_folder))
    partial = copy_without(checkpoint, tmp_path, "class_predictor.weight")
    with pytest.raises(ValueError, match=r"lacks 1 weights of Mask2Former.*class_predictor\.weight"):
        Mask2Former(Mask2Former.Config(source=str(partial), colours=clip_folder))


def test_labels_of_other_data_are_refused(checkpoint: Path, clip_folder: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = (checkpoint / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"bench"', '"wall"'))
    with pytest.raises(ValueError, match="no label for bench"):
        Mask2Former(Mask2Former.Config(source=str(tmp_path), colours=clip_folder))
