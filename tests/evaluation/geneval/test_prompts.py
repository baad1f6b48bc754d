"""The generated GenEval prompts are the official files, byte for byte."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from unimm.evaluation.geneval.prompts import OBJECT_NAMES, generate_prompts, metadata_text, prompts_text

METADATA = "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"
PROMPTS = "55b6e3650e980c13daf30569eb666e000faf19bfc2b7b4cbe999fcdb7aa9d680"
NAMES = "608f6a0e5c8ca1c7a92b818430141fe268c85b7930b50f4160f1d65893b5bacd"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_are_the_official_ones() -> None:
    samples = generate_prompts(seed=43, draws=100)
    assert sha256(metadata_text(samples)) == METADATA
    assert sha256(prompts_text(samples)) == PROMPTS
    assert sha256("".join(f"{name}\n" for name in OBJECT_NAMES)) == NAMES


def test_tasks_have_the_official_sizes() -> None:
    assert Counter(sample["tag"] for sample in generate_prompts()) == {
        "single_object": 80,
        "two_object": 99,
        "counting": 80,
        "colors": 94,
        "position": 100,
        "color_attr": 100,
    }


def test_names_are_cocos_but_for_three() -> None:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights

    coco = [name for name in MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"] if re.match("[a-z]", name)]
    renamed = {ours: theirs for ours, theirs in zip(OBJECT_NAMES, coco, strict=True) if ours != theirs}
    assert renamed == {"computer mouse": "mouse", "tv remote": "remote", "computer keyboard": "keyboard"}


def test_another_seed_gives_other_prompts_without_repeats() -> None:
    samples = generate_prompts(seed=1, draws=50)
    assert samples != generate_prompts(seed=2, draws=50)
    assert len({sample["prompt"] for sample in samples}) == len(samples)
