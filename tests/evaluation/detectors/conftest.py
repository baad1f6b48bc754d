"""Tiny random checkpoints, saved as the libraries save them, and what every detector's objects must look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimm.encoders.clip import build_clip
from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector
from unimm.evaluation.detectors.instances import RENAMED
from unimm.evaluation.geneval.prompts import OBJECT_NAMES
from unimm.scenes.world import COLOURS

CLIP = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder with a tiny random model."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    weights = {name: tensor.contiguous() for name, tensor in build_clip(CLIP).state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": preprocess}))
    return folder


@pytest.fixture(scope="session")
def photos() -> torch.Tensor:
    """Two random images, wider than high."""
    return torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def coco_labels() -> list[str]:
    """COCO's 80 labels in darknet's spelling, in the order of GenEval's names for them."""
    spelling = {name: label for label, name in RENAMED.items()}
    return [spelling.get(name, name) for name in OBJECT_NAMES]


@pytest.fixture(scope="session")
def copy_without() -> Callable[[Path, Path, str], Path]:
    """Copies a checkpoint folder and leaves out one tensor of its ``model.safetensors``."""

    def copy(folder: Path, target: Path, left_out: str) -> Path:
        for path in folder.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
        weights = load_file(target / "model.safetensors")
        del weights[left_out]
        save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
        return target

    return copy


@pytest.fixture(scope="session")
def assert_well_formed() -> Callable[[Detector, torch.Tensor], list[dict[str, list[list[Any]]]]]:
    """Runs a detector and checks GenEval's form: sorted, above its thresholds, inside the image."""

    def check(detector: Detector, images: torch.Tensor) -> list[dict[str, list[list[Any]]]]:
        height, width = images.shape[2:]
        found = detector.detect(images)
        assert len(found) == len(images)
        for boxes in (boxes for objects in found for boxes in objects.values()):
            assert 1 <= len(boxes) <= MAX_OBJECTS
            scores = [box[4] for box in boxes]
            assert scores == sorted(scores, reverse=True)
            assert all(detector.thresholds.lowest < score <= 1 for score in scores)
            for x1, y1, x2, y2, _, colour in boxes:
                assert 0 <= x1 < x2 <= width
                assert 0 <= y1 < y2 <= height
                assert colour in COLOURS
        return found

    return check
