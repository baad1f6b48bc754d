"""Tiny random checkpoints, saved as the libraries save them, and what every detector's objects must look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimm.evaluation.detectors.base import MAX_OBJECTS, Detector
from unimm.scenes.world import COLOURS


@pytest.fixture(scope="session")
def clip_folder(checkpoint: Callable[[str], Path]) -> Path:
    """An open_clip folder with a tiny random model."""
    return checkpoint("colours_clip")


@pytest.fixture(scope="session")
def photos() -> torch.Tensor:
    """Two random images, wider than high."""
    return torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


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
