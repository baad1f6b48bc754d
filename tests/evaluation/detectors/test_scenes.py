"""The scenes' judge as a GenEval detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimm.evaluation.detectors.base import objects_for
from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.geneval.files import judge_objects
from unimm.scenes.render import render
from unimm.scenes.world import Item, Scene

SCENE = Scene((Item("circle", "red", 0.25, 0.5, 0.15), Item("star", "blue", 0.75, 0.5, 0.15)), 0.5)
METADATA = {
    "tag": "counting",
    "include": [{"class": "star", "count": 1, "color": "blue"}],
    "exclude": [{"class": "star", "count": 2}],
    "prompt": "one blue star",
}


def test_a_rendered_scene_is_read() -> None:
    picture = torch.from_numpy(np.ascontiguousarray(render(SCENE, 128))).permute(2, 0, 1)
    detector = Scenes(Scenes.Config(world="scenes"))
    first, second = detector.detect(torch.stack([picture, torch.full_like(picture, 128)]))
    assert second == {}
    assert {name: [box[5] for box in boxes] for name, boxes in first.items()} == {"circle": ["red"], "star": ["blue"]}
    assert first["circle"][0][:4] == pytest.approx([0.1 * 128, 0.35 * 128, 0.4 * 128, 0.65 * 128], abs=1)
    counted = objects_for(first, METADATA, detector.thresholds)
    assert judge_objects("a.png", counted, METADATA).correct


def test_other_worlds_and_images_are_refused() -> None:
    with pytest.raises(ValueError, match="known worlds"):
        Scenes(Scenes.Config(world="coco"))
    with pytest.raises(ValueError, match="uint8 images"):
        Scenes(Scenes.Config()).detect(torch.zeros(1, 3, 32, 32))
