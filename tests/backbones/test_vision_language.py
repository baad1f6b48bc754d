"""Vision-language models: logits and ids of pictures and questions are the library's own, family by family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unimm.backbones.causal_lm import pad_left, row, summed_loss
from unimm.backbones.wording import answer_ids, generation_ids, question_ids
from unimm.components import Inputs

Build = Callable[..., Any]
Checkpoint = Callable[[str], Path]
SIDES = {"gemma3": 32, "qwen3_vl": 64, "llava": 32, "smolvlm": 32, "qwen2_5_vl": 112}
QUESTIONS = ("how many squares ?", "how many squares are there in the picture , please ?")


def library(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()


def pictures(side: int) -> Tensor:
    """Of whole bytes, each of its own."""
    return (torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255).round() / 255


def asked(processor: Any, question: str, picture: Tensor) -> Any:
    """The library's own inputs."""
    parts = [{"type": "image"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    return processor(text=[text], images=[picture], do_rescale=False, return_tensors="pt")


@pytest.mark.parametrize("name", SIDES)
@torch.no_grad()
def test_logits_of_pictures_in_a_padded_batch_are_the_librarys(build: Build, checkpoint: Checkpoint, name: str) -> None:
    backbone = build(name, "pretrained_vlm", resolution=SIDES[name])
    images, (processor, model) = pictures(SIDES[name]), library(checkpoint(name))
    shown = backbone.vision[0].encode(images)
    rows = [question_ids(backbone.tokenizer, question, shown.shape[1]) for question in QUESTIONS]
    ids, mask = pad_left(rows, backbone.tokenizer.pad_token_id)[:2]
    found = backbone(Inputs(ids, mask, shown), with_queries=False).logits
    for number, question in enumerate(QUESTIONS):
        inputs = asked(processor, question, images[number])
        assert inputs["input_ids"][0].tolist() == rows[number]
        expected = model(**inputs).logits
        torch.testing.assert_close(found[number : number + 1, -len(rows[number]) :], expected, atol=1e-5, rtol=1e-5)
    final = backbone(Inputs(ids, mask, shown), with_queries=False, last=2).logits
    torch.testing.assert_close(final, found[:, -2:], atol=1e-6, rtol=1e-6)
    other = backbone(Inputs(ids, mask, shown.flip(0)), with_queries=False).logits
    assert float((other[:, -1] - found[:, -1]).abs().max()) > 1e-5


@pytest.mark.parametrize("name", SIDES)
def test_requests_hold_the_caption_as_the_librarys_own_do(build: Build, checkpoint: Checkpoint, name: str) -> None:
    backbone, (processor, _) = build(name, "pretrained_vlm", resolution=SIDES[name]), library(checkpoint(name))
    request = "Please generate an image based on the following caption: a photo of a red circle"
    parts = [{"role": "user", "content": [{"type": "text", "text": request}]}]
    wanted = processor.apply_chat_template(parts, add_generation_prompt=True, tokenize=True, return_dict=True)
    found = generation_ids(backbone.tokenizer, "a photo of a red circle")
    assert found == list(wanted["input_ids"][0])
    assert found != generation_ids(backbone.tokenizer, "two blue squares")


@pytest.mark.parametrize("name", ["gemma3", "qwen3_vl"])
def test_the_language_model_learns_from_questions_about_pictures(build: Build, name: str) -> None:
    """Gradients pass through the library's forward, in training mode too."""
    backbone = build(name, "pretrained_vlm", resolution=SIDES[name]).train()
    backbone.set_trainable(True)
    tokenizer, shown = backbone.tokenizer, backbone.vision[0].encode(pictures(SIDES[name]))
    rows = [row(question_ids(tokenizer, q, shown.shape[1]), answer_ids(tokenizer, "two")) for q in QUESTIONS]
    summed_loss(backbone, rows, shown).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.language_parameters())
    reached = {name for name, p in backbone.model.named_parameters() if p.grad is not None}
    assert not any("vis" in name or "projector" in name for name in reached)
    assert "get_image_features" not in vars(backbone.model.base_model)


def test_features_of_deeper_blocks_are_kept_beside_the_others(build: Build) -> None:
    eyes = build("qwen3_vl", "pretrained_vlm", resolution=64).vision[0]
    images = pictures(64)
    shown = eyes.encode(images)
    assert shown.shape == (2, 4, 32 * 3)
    spec = eyes.latent_spec()
    assert (spec.tokens, spec.channels) == (4, 96)
    output = eyes.model.get_image_features(**eyes.prepared(images))
    again = eyes.layout.output(shown)
    torch.testing.assert_close(torch.cat(again.pooler_output), torch.cat(output.pooler_output))
    for mine, theirs in zip(again.deepstack_features, output.deepstack_features, strict=True):
        assert isinstance(mine, Tensor) is isinstance(theirs, Tensor), "older versions do not split them by image"
        torch.testing.assert_close(*(part if isinstance(part, Tensor) else torch.cat(part) for part in (mine, theirs)))
