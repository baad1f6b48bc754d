"""OWL-ViT and OWLv2, from tiny checkpoints with random weights and a tokenizer of letters."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.evaluation.detectors.base import Thresholds, objects_for, score_name
from unimm.evaluation.detectors.open_vocabulary import MODELS, OpenVocabulary

LETTERS = string.ascii_lowercase
TOKENS = ["!", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
CONTEXT = 48
EVERYTHING = Thresholds(confidence=0.0, counting=0.0)


@pytest.fixture(scope="module", params=MODELS)
def owl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    folder = tmp_path_factory.mktemp("checkpoints") / request.param
    letters = tmp_path_factory.mktemp("letters")
    (letters / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(TOKENS)}))
    (letters / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(letters, model_max_length=CONTEXT)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(TOKENS) - 2, "eos_token_id": len(TOKENS) - 1}
    prefix = MODELS[request.param].removesuffix("ForObjectDetection")
    config = getattr(transformers, f"{prefix}Config")(
        text_config={"vocab_size": len(TOKENS), "max_position_embeddings": CONTEXT, **ends, **tower},
        vision_config={"image_size": 32, "patch_size": 8, **tower},
        projection_dim=16,
    )
    torch.manual_seed(0)
    getattr(transformers, MODELS[request.param])(config).save_pretrained(folder)
    images = getattr(transformers, f"{prefix}ImageProcessor")(size={"height": 32, "width": 32})
    getattr(transformers, f"{prefix}Processor")(images, tokenizer).save_pretrained(folder)
    return folder


def test_objects_are_well_formed(
    owl: Path, clip_folder: Path, photos: torch.Tensor, assert_well_formed: Callable[..., Any]
) -> None:
    classes = ("cow", "computer keyboard", "unicorn")
    config = OpenVocabulary.Config(source=str(owl), colours=clip_folder, classes=classes, thresholds=EVERYTHING)
    detector = OpenVocabulary(config)
    found = assert_well_formed(detector, photos)
    assert any(found)
    assert all(set(objects) <= set(classes) for objects in found)
    assert score_name(detector) == f"GenEval-protocol, detector={owl.name}/{owl.name}"


def test_genevals_classes_and_milder_thresholds_are_the_default(clip_folder: Path) -> None:
    config = OpenVocabulary.Config(source="x", colours=clip_folder)
    assert len(config.classes) == 80
    cows = {"cow": [[0, 0, 9, 9, 0.6, "red"], [0, 0, 9, 8, 0.5, "red"], [50, 0, 59, 9, 0.2, "red"]]}
    assert [box[4] for box in objects_for(cows, {"tag": "counting"}, config.thresholds)["cow"]] == [0.6, 0.2]


def test_boxes_are_cut_at_the_border(owl: Path, clip_folder: Path) -> None:
    detector = OpenVocabulary(OpenVocabulary.Config(source=str(owl), colours=clip_folder, classes=("cow",)))
    boxes = torch.tensor([[-5.0, 2, 9, 60], [1, 50, 9, 60], [1, 2, 3, 4]])
    found = detector._read(torch.zeros(3, dtype=torch.long), boxes, torch.tensor([0.9, 0.8, 0.7]), 48, 64)
    assert [one.box for one in found] == [(0, 2, 9, 48), (1, 2, 3, 4)]


def test_missing_weights_are_an_error(
    owl: Path, clip_folder: Path, tmp_path: Path, copy_without: Callable[[Path, Path, str], Path]
) -> None:
    with pytest.raises(ValueError, match="cannot read a checkpoint from"):
        OpenVocabulary(OpenVocabulary.Config(source=str(tmp_path), colours=clip_folder))
    partial = copy_without(owl, tmp_path, "box_head.dense0.weight")
    with pytest.raises(ValueError, match=r"lacks 1 weights of Owl.*box_head\.dense0\.weight"):
        OpenVocabulary(OpenVocabulary.Config(source=str(partial), colours=clip_folder))


def test_other_models_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mask2former"}')
    with pytest.raises(ValueError, match="is a mask2former model; give one of owlvit, owlv2"):
        OpenVocabulary(OpenVocabulary.Config(source=str(tmp_path), colours=clip_folder))
