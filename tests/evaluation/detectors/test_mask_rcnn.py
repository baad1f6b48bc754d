"""Torchvision's Mask R-CNN, its real architecture with random weights whose class is set to COCO's mouse.

Only the size of the images that the network sees is made small, so that a test takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from unimm.evaluation.detectors.base import score_name
from unimm.evaluation.detectors.mask_rcnn import MaskRCNN, read_state_dict

MOUSE = 74


@pytest.fixture(scope="module", autouse=True)
def small_images() -> Any:
    detection = torchvision.models.detection
    with pytest.MonkeyPatch.context() as patch:
        small = partial(detection.maskrcnn_resnet50_fpn_v2, min_size=64, rpn_post_nms_top_n_test=20)
        patch.setattr(detection, "maskrcnn_resnet50_fpn_v2", small)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = torchvision.models.detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.zero_()
        model.roi_heads.box_predictor.cls_score.bias[MOUSE] = 8.0
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(model.state_dict(), path)
    return path


def test_objects_are_well_formed(
    weights: Path, clip_folder: Path, photos: torch.Tensor, assert_well_formed: Callable[..., Any]
) -> None:
    detector = MaskRCNN(MaskRCNN.Config(weights=weights, colours=clip_folder))
    found = assert_well_formed(detector, photos)
    assert [set(objects) for objects in found] == [{"computer mouse"}] * 2
    assert score_name(detector) == "GenEval-protocol, detector=maskrcnn_resnet50_fpn_v2/tiny"


def test_a_state_dict_is_read_without_running_code(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    assert torch.equal(read_state_dict(tmp_path / "a.pth")["a"], torch.ones(2))
    torch.save({"a": Path("code")}, tmp_path / "b.pth")
    with pytest.raises(Exception, match="weights_only"):
        read_state_dict(tmp_path / "b.pth")


def test_missing_weights_are_an_error(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights at .*: expected the state_dict .*73cbd019\.pth"):
        MaskRCNN(MaskRCNN.Config(weights=tmp_path / "none.pth", colours=clip_folder))
    save_file({"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match=r"does not fit the model"):
        MaskRCNN(MaskRCNN.Config(weights=tmp_path / "partial.safetensors", colours=clip_folder))
