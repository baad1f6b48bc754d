"""A pretrained backbone that is computed otherwise than its library computes it is refused where it is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unimm.backbones import chat, own_vision, pretrained
from unimm.backbones.own_vision import ramp

Build = Callable[..., Any]


@pytest.mark.parametrize(
    ("source", "name", "missing"),
    [
        ("mamba", "MambaForCausalLM", "past_key_values"),
        ("rwkv", "RwkvForCausalLM", "past_key_values"),
        ("llama4_text", "Llama4ForCausalLM", "last_hidden_state"),
    ],
)
def test_models_without_what_queries_need_are_refused_by_name(
    build: Build, source: str, name: str, missing: str
) -> None:
    with pytest.raises(ValueError, match=rf"{source} is a {name}, whose pass gives no {missing}: "):
        build(source, "pretrained_lm")


def test_a_model_that_padding_changes_is_refused(build: Build) -> None:
    """Jamba's recurrent layers do not go on from a padded, cached prompt."""
    with pytest.raises(ValueError, match=r"computes other query states of JambaForCausalLM than transformers does"):
        build("jamba", "pretrained_lm")


def test_other_positions_are_noticed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    build("gpt2", "pretrained_lm")
    monkeypatch.setattr(pretrained, "positions_of", lambda mask: mask.long().cumsum(1))
    with pytest.raises(ValueError, match="computes other logits of GPT2LMHeadModel than transformers does"):
        build("gpt2", "pretrained_lm")


def test_dropped_features_of_deeper_blocks_are_noticed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = own_vision.Layout.output

    def main_only(layout: own_vision.Layout, tokens: torch.Tensor) -> Any:
        output = whole(layout, tokens)
        output.deepstack_features = [
            0 * part if isinstance(part, torch.Tensor) else tuple(0 * t for t in part)
            for part in output.deepstack_features
        ]
        return output

    monkeypatch.setattr(own_vision.Layout, "output", main_only)
    with pytest.raises(ValueError, match="computes other logits of Qwen3VLForConditionalGeneration"):
        build("qwen3_vl", "pretrained_vlm", resolution=64)


def test_images_seen_one_way_only_are_noticed(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "TYPES", ())
    with pytest.raises(ValueError, match="computes other logits of Gemma3ForConditionalGeneration"):
        build("gemma3", "pretrained_vlm", resolution=32)


def test_a_pass_that_fails_is_a_refusal(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_vision.Layout, "output", lambda layout, tokens: layout.kind())
    with pytest.raises(ValueError, match="Qwen3VLForConditionalGeneration cannot be asked in the way of other models"):
        build("qwen3_vl", "pretrained_vlm", resolution=64)


def test_coarse_weights_pass(build: Build) -> None:
    for source, name, side in (("llama", "pretrained_lm", None), ("qwen3_vl", "pretrained_vlm", 64)):
        settings = {} if side is None else {"resolution": side}
        assert build(source, name, dtype="bfloat16", **settings).model.dtype == torch.bfloat16


def test_no_two_parts_of_the_picture_are_alike() -> None:
    picture = ramp(64)
    assert picture.shape == (3, 64, 64) and picture.aminmax() == (0, 1)
    patches = picture.unfold(1, 8, 8).unfold(2, 8, 8).mean((3, 4)).flatten(1).T
    assert len(patches.unique(dim=0)) == 64
