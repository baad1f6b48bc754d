"""What processor files say of pixels, against the library's own processor and model on the same pictures."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unimm.encoders.calibrated import CalibratedEncoder
from unimm.foundation.folder import Foundation
from unimm.registry import encoders

Checkpoint = Callable[[str], Path]
SIDE = 32
BYTES = (torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)


def changed(source: Path, folder: Path, **settings: Any) -> Path:
    """A copy of a checkpoint whose processor file says otherwise; ``...`` takes an entry out."""
    shutil.copytree(source, folder)
    file = next(folder.glob("p*rocessor_config.json"))
    content = json.loads(file.read_text()) | settings
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return folder


def build(folder: Path, **settings: Any) -> CalibratedEncoder:
    cls: Any = encoders.get("transformers_vision")
    config = cls.Config(pretrained=str(folder), standardise=False, grid=None, **settings)
    encoder: CalibratedEncoder = cls.build(config, Foundation("scenes-nano", SIDE))
    return encoder


@torch.no_grad()
def of_the_library(folder: Path, prefix: int) -> Tensor:
    from transformers import AutoImageProcessor, AutoModel

    pixels = AutoImageProcessor.from_pretrained(folder)(images=list(BYTES), return_tensors="pt")["pixel_values"]
    whole = AutoModel.from_pretrained(folder).eval()
    model: Any = getattr(whole, "vision_model", whole)
    states: Tensor = model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    return states[:, prefix:]


@pytest.mark.parametrize(("source", "prefix"), [("clip_vision", 1), ("siglip", 0), ("dinov2", 1)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_normalize": False},
        {"do_normalize": None},
        {"do_normalize": False, "image_mean": None, "image_std": None},
        {"do_normalize": ..., "do_rescale": ..., "rescale_factor": ...},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": 1 / 127.5, "do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"do_rescale": False, "rescale_factor": None},
        {"image_mean": 0.5, "image_std": 0.25},
        {"image_mean": [0.5], "image_std": [0.25]},
    ],
    ids=str,
)
@torch.no_grad()
def test_pixels_are_rescaled_and_normalised_as_the_file_says(
    checkpoint: Checkpoint, tmp_path: Path, source: str, prefix: int, settings: dict[str, Any]
) -> None:
    # DINOv2's processor resizes to 36 and crops; images here are of the tower's side, and no border is cut.
    whole = {"size": {"shortest_edge": SIDE}} if source == "dinov2" else {}
    folder = changed(checkpoint(source), tmp_path / "x", **whole, **settings)
    torch.testing.assert_close(
        build(folder).encode(BYTES.float() / 255), of_the_library(folder, prefix), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "said", "by_the_library"),
    [
        ({"image_mean": None}, "image_mean is None, but do_normalize needs a number or 3", True),
        ({"rescale_factor": None}, "rescale_factor is None, but do_rescale needs a number", True),
        ({"crop_size": {"height": 48, "width": 48}, "size": {"shortest_edge": 48}}, "makes images of 48 pixels", True),
        ({"crop_size": {"height": 24, "width": 24}}, "makes images of 24 pixels", True),
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\]", True),
        # The library has a default here, which may not be the model's.
        ({"image_std": ...}, "image_std is None, but do_normalize", False),
    ],
    ids=str,
)
def test_what_the_library_refuses_is_refused_with_the_file(
    checkpoint: Checkpoint, tmp_path: Path, settings: dict[str, Any], said: str, by_the_library: bool
) -> None:
    folder = changed(checkpoint("clip_vision"), tmp_path / "x", **settings)
    with pytest.raises(ValueError, match=rf"{re.escape(str(folder))}.*{said}"):
        build(folder)
    if by_the_library:
        with pytest.raises((ValueError, RuntimeError)):
            of_the_library(folder, 1)


def test_a_deviation_of_zero_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing can be divided by 0"):
        build(changed(checkpoint("clip_vision"), tmp_path / "x", image_std=[0.5, 0, 0.5]))


def test_another_side_has_to_be_asked_for(checkpoint: Checkpoint, tmp_path: Path) -> None:
    larger = {"crop_size": {"height": 48, "width": 48}, "size": {"shortest_edge": 48}}
    folder = changed(checkpoint("clip_vision"), tmp_path / "x", **larger)
    with pytest.raises(ValueError, match=r"the tower takes 32: set encoder\.resolution=32 or.*encoder\.resolution=48"):
        build(folder)
    assert build(folder, resolution=32).latent_spec().tokens == 64
    assert build(folder, resolution=48).latent_spec().tokens == 144


def test_the_usual_files_give_the_fingerprint_that_they_always_gave(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Trained decoders know their tokens by it: spelling out the defaults changes nothing."""
    plain = build(checkpoint("clip_vision"))
    said = {"do_normalize": True, "do_rescale": True, "rescale_factor": 0.00392156862745098}
    content = json.loads((checkpoint("clip_vision") / "preprocessor_config.json").read_text())
    assert {key: content.get(key) for key in said} == said
    preprocessing = plain.preprocessing  # type: ignore[attr-defined]
    assert preprocessing.mean == tuple(content["image_mean"])
    assert preprocessing.std == tuple(content["image_std"])


@pytest.mark.parametrize("size", [[32, 48], [48, 32]])
def test_towers_of_oblong_images_are_refused_by_name(tmp_path: Path, size: list[int]) -> None:
    cls: Any = encoders.get("open_clip")
    from tiny_checkpoints import open_clip

    own = {"image_size": size, "patch_size": 4, "width": 32, "layers": 2, "head_width": 16}
    (tmp_path / "oblong").mkdir()
    open_clip(tmp_path / "oblong", own)
    with pytest.raises(ValueError, match=rf"takes images of {size[0]} x {size[1]} pixels, and a target's are square"):
        cls.build(cls.Config(pretrained=str(tmp_path / "oblong")), Foundation("scenes-nano", SIDE))
