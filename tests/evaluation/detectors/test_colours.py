"""The zero-shot colour classifier: what CLIP sees, and which colour wins."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer, build_zero_shot_classifier
from PIL import Image
from safetensors.torch import load_file, save_file

from unimm.encoders.clip import load_clip
from unimm.evaluation.detectors.colours import ColourClassifier, cut_out
from unimm.scenes.world import COLOURS

CPU = torch.device("cpu")


def copy_of(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_object_alone_is_cut_out() -> None:
    picture = Image.new("RGB", (8, 6), "#ff0000")
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[2:4, 3:5] = True
    crop = np.asarray(cut_out(picture, (1.6, 1.4, 6.4, 4.6), mask))
    assert crop.shape == (4, 4, 3)
    assert (crop == 0x99).all(axis=-1).sum() == 12
    assert (crop[1:3, 1:3] == [255, 0, 0]).all()
    assert np.asarray(cut_out(picture, (0, 0, 8, 6), None)).tolist() == np.asarray(picture).tolist()


@pytest.mark.parametrize("box", [(3.1, 2.2, 3.3, 2.4), (7.8, 5.9, 8.0, 6.0)])
def test_the_smallest_box_holds_one_pixel(box: tuple[float, float, float, float]) -> None:
    assert cut_out(Image.new("RGB", (8, 6), "#ff0000"), box, None).getcolors() == [(1, (255, 0, 0))]


def test_colours_are_those_of_open_clips_own_classifier(clip_folder: Path, photos: torch.Tensor) -> None:
    """Twenty objects of two classes, so that more than one batch runs."""
    classifier = ColourClassifier(clip_folder, CPU)
    boxes = [(float(n), 0.0, float(n) + 20, 30.0) for n in range(20)]
    names = ["cow", "tv remote"] * 10
    found = classifier.classify(photos[0], names, boxes, [None] * 20)
    model, tokenizer = load_clip(clip_folder), SimpleTokenizer()
    picture = Image.fromarray(photos[0].permute(1, 2, 0).numpy())
    for name, box, colour in zip(names, boxes, found, strict=True):
        templates = [f"a photo of a {{}} {name}", f"a photo of a {{}}-colored {name}", "a photo of a {} object"]
        weights = build_zero_shot_classifier(model, tokenizer, list(COLOURS), templates)
        features = model.encode_image(classifier.transform(picture.crop(box))[None], normalize=True)
        assert colour == list(COLOURS)[(100 * features @ weights).argmax()]
    assert classifier.classify(photos[0], [], [], []) == []


def test_images_are_normalised_as_the_folder_says(clip_folder: Path) -> None:
    grey = ColourClassifier(clip_folder, CPU).transform(Image.new("RGB", (50, 40), "#999"))
    expected = (0.6 - torch.tensor([0.48, 0.46, 0.41])) / torch.tensor([0.27, 0.26, 0.28])
    torch.testing.assert_close(grey, expected[:, None, None].expand(3, 32, 32), atol=1e-5, rtol=0)


def test_missing_files_and_weights_are_errors(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no open_clip_config\.json and no open_clip_model\.safetensors"):
        ColourClassifier(tmp_path, CPU)
    weights = load_file(clip_folder / "open_clip_model.safetensors")
    del weights["ln_final.weight"]
    save_file(weights, copy_of(clip_folder, tmp_path) / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match="does not fit") as caught:
        ColourClassifier(tmp_path, CPU)
    assert "ln_final.weight" in str(caught.value)


def test_another_tokenizer_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    path = copy_of(clip_folder, tmp_path) / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "other/tokenizer"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="OpenAI's tokenizer"):
        ColourClassifier(tmp_path, CPU)
