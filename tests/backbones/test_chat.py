"""Chat templates: which are read, which are refused, and how long a text may be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_backbones import PARTS_ONLY
from tiny_checkpoints import CHATML

from unimm.backbones.causal_lm import conditions_of
from unimm.backbones.chat import REQUEST
from unimm.backbones.literal import dropped
from unimm.backbones.wording import answer_ids, generation_ids, question_ids

Build = Callable[..., Any]
Checkpoint = Callable[[str], Path]


def with_template(checkpoint: Checkpoint, folder: Path, template: str, source: str = "qwen3") -> Path:
    """The checkpoint with another template."""
    shutil.copytree(checkpoint(source), folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_language_model_whose_template_takes_parts_gets_parts(
    build: Build, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    backbone = build(with_template(checkpoint, tmp_path / "parts", PARTS_ONLY), "pretrained_lm")
    prompt = backbone.tokenizer.inner.decode(generation_ids(backbone.tokenizer, "a ring"))
    assert prompt == f"USER: {REQUEST}a ring ASSISTANT:"


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}USER: {% endfor %}ASSISTANT:",
        "{% for message in messages %}{{ message['content'] }} {{ message['content'] }}{% endfor %}",
        "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}",
        "{{ raise_exception('no users here') }}",
    ],
    ids=["drops", "repeats", "changes", "refuses"],
)
def test_a_template_that_does_not_hold_the_caption_is_refused(
    build: Build, checkpoint: Checkpoint, tmp_path: Path, template: str
) -> None:
    with pytest.raises(ValueError, match=r"the chat template does not hold the caption once: .*instruction-tuned"):
        build(with_template(checkpoint, tmp_path / "other", template), "pretrained_lm")


def test_a_template_without_a_place_for_images_is_refused(build: Build, checkpoint: Checkpoint, tmp_path: Path) -> None:
    blind = CHATML.replace("<|vision_start|><|image_pad|><|vision_end|>", "")
    # Newer processors refuse it themselves, older ones make no tokens of the picture.
    with pytest.raises(ValueError, match=r"a processor of images and text|makes 0 tokens of the model's image"):
        build(with_template(checkpoint, tmp_path / "blind", blind, "qwen2_5_vl"), "pretrained_vlm", resolution=56)


@pytest.mark.parametrize(
    ("name", "side", "spelled"),
    [
        ("qwen2_5_vl", 56, "<|image_pad|>"),
        ("gemma3", 32, "<start_of_image>"),
        ("gemma3", 32, "<image_soft_token>"),
        ("llava", 32, "<image>"),
    ],
)
@torch.no_grad()
def test_texts_that_spell_an_image_show_none(build: Build, name: str, side: int, spelled: str) -> None:
    backbone = build(name, "pretrained_vlm", resolution=side)
    tokenizer, tokens = backbone.tokenizer, backbone.vision[0].latent_spec().tokens
    plain = question_ids(tokenizer, "a ?", tokens)
    asked = question_ids(tokenizer, f"{spelled} a {spelled} ?", tokens)
    number = tokenizer.inner.convert_tokens_to_ids(spelled)
    assert asked.count(number) == plain.count(number)
    assert asked.count(tokenizer.image_id) == plain.count(tokenizer.image_id) == tokens
    assert number not in generation_ids(tokenizer, f"a {spelled} circle")
    assert number not in answer_ids(tokenizer, spelled)
    assert conditions_of(backbone, [generation_ids(tokenizer, f"a {spelled} circle")]).isfinite().all()


def resaved(checkpoint: Checkpoint, folder: Path, change: Callable[[Any], None]) -> Path:
    """The tiny Llama with a tokenizer that was changed."""
    from transformers import AutoTokenizer

    shutil.copytree(checkpoint("llama"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)
    return folder


def test_added_tokens_without_embedding_are_accepted_and_read_as_text(
    build: Build, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """As Gemma 3 1B's soft token and an added ``[PAD]``: the library generates with them."""

    def add(tokenizer: Any) -> None:
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.add_tokens(["<own>"])

    backbone = build(resaved(checkpoint, tmp_path / "padded", add), "pretrained_lm")
    tokenizer, rows = backbone.tokenizer, len(backbone.embeddings.weight)
    assert tokenizer.inner.pad_token_id >= rows > tokenizer.pad_token_id
    for text in ("a [PAD] ring", "<own>", "[PAD][PAD]"):
        ids = generation_ids(tokenizer, text)
        assert max(ids) < rows
        assert text in tokenizer.inner.decode(ids)
    together = conditions_of(backbone, [generation_ids(tokenizer, text) for text in ("a [PAD] ring", "a ring of fire")])
    alone = conditions_of(build("llama", "pretrained_lm"), [generation_ids(tokenizer, "a ring of fire")])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)


def test_a_template_that_needs_a_token_without_embedding_is_refused(
    build: Build, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    def end(tokenizer: Any) -> None:
        tokenizer.add_special_tokens({"eos_token": "<end>"})

    with pytest.raises(
        ValueError, match=r"tokenizer_config.json: every prompt needs '<end>', and its id \d+ is beyond"
    ):
        build(resaved(checkpoint, tmp_path / "mixed", end), "pretrained_lm")


def test_a_vocabulary_of_another_model_is_refused(build: Build, checkpoint: Checkpoint, tmp_path: Path) -> None:
    shutil.copytree(checkpoint("llama"), tmp_path / "mixed")
    file = tmp_path / "mixed" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] |= {f"w{number}": 1000 + number for number in range(9)}
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer_config.json: texts can make ids up to 1008, the model embeds \d+"):
        build(tmp_path / "mixed", "pretrained_lm")


@torch.no_grad()
def test_no_text_is_longer_than_the_models_positions(build: Build) -> None:
    """GPT-2 learns its positions: one more would be an IndexError."""
    backbone, text = build("gpt2", "pretrained_lm"), "一张红色圆圈的照片" * 800
    tokenizer = backbone.tokenizer
    ids = generation_ids(tokenizer, text)
    assert 256 - 4 - 3 <= len(ids) <= 256 - 4 and dropped(ids) > 10_000
    assert conditions_of(backbone, [ids, generation_ids(tokenizer, "a ring")]).isfinite().all()
    asked, answer = question_ids(tokenizer, text, 9), answer_ids(tokenizer, text)
    assert 256 - 6 <= len(asked) + len(answer) <= 256
    assert dropped(asked) > 10_000 and dropped(answer) > 10_000


def test_queries_that_leave_no_room_are_refused(build: Build) -> None:
    with pytest.raises(
        ValueError, match=r"the model has 256 positions, and 2\d\d go to the template.*backbone.queries"
    ):
        build("gpt2", "pretrained_lm", queries=240)
    with pytest.raises(ValueError, match=r"the model has 256 positions, and \d+ go to the template, the image"):
        question_ids(build("gpt2", "pretrained_lm").tokenizer, "a ?", 250)
