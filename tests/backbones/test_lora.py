"""Low-rank adapters: what trains, what is refused, and that the merged model is the trained one."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from unimm.backbones.causal_lm import CausalLM, conditions_of
from unimm.backbones.lora import check_targets
from unimm.backbones.wording import generation_ids
from unimm.components import Mix

Build = Callable[..., Any]
CAPTIONS = ["a photo of a red circle", "two blue squares and a star", "a ring"]
MODELS = {"llama": "pretrained_lm", "qwen3": "pretrained_lm", "qwen2_5_vl": "pretrained_vlm"}
FROZEN, TRAINED = Mix(False, 1.0, 0.0), Mix(True, 1.0, 1.0)


def prompts(backbone: CausalLM) -> list[list[int]]:
    return [generation_ids(backbone.tokenizer, caption) for caption in CAPTIONS]


def test_lora_without_peft_says_what_to_install(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"needs peft, which is not installed: pip install 'unimm\[lora\]'"):
        build("llama", "pretrained_lm", lora={"rank": 2})


@pytest.mark.parametrize(("source", "name"), MODELS.items())
def test_lora_trains_adapters_alone_and_starts_as_the_model(build: Build, source: str, name: str) -> None:
    pytest.importorskip("peft")
    plain, adapted = (build(source, name, lora=lora) for lora in (None, {"rank": 2, "alpha": 4}))
    rows = prompts(plain)
    with torch.no_grad():
        torch.testing.assert_close(conditions_of(adapted, rows), conditions_of(plain, rows), atol=1e-6, rtol=1e-6)
    adapted.check(TRAINED)
    with pytest.raises(ValueError, match=r"backbone.lora adapts the backbone, but the strategy freezes it"):
        adapted.check(FROZEN)
    for parameter in adapted.core_parameters():
        parameter.requires_grad_(True)
    trainable = {key for key, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all("lora_" in key or key.startswith(("projector", "queries")) for key in trainable)
    assert not any("visual" in key for key in trainable)
    conditions_of(adapted, rows).square().sum().backward()
    assert any(
        "lora_B" in key and p.grad is not None and p.grad.abs().max() > 0 for key, p in adapted.named_parameters()
    )
    again = build(source, name, lora={"rank": 2, "alpha": 4})
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in adapted.state_dict().items())


def test_adapters_train_in_float32_beside_coarse_weights(build: Build) -> None:
    pytest.importorskip("peft")
    adapted = build("llama", "pretrained_lm", lora={"rank": 2}, dtype="bfloat16")
    adapted.check(TRAINED)
    assert {p.dtype for p in adapted.core_parameters()} == {torch.float32}
    assert conditions_of(adapted, prompts(adapted)).isfinite().all()


def test_lora_targets_that_no_layer_has_are_refused(build: Build) -> None:
    pytest.importorskip("peft")
    with pytest.raises(ValueError, match=r"backbone.lora.targets=\('nose_proj',\)"):
        build("llama", "pretrained_lm", lora={"targets": ["nose_proj"]})


EMBEDDING = [("q_proj", "embed_tokens"), ("embed_tokens",), ".*(q_proj|embed_tokens)"]


@pytest.mark.parametrize("targets", EMBEDDING)
def test_the_tied_embedding_is_no_target(build: Build, targets: Any) -> None:
    """Adapters in it are merged into the output layer too: the exported logits would be 196 off at a scale of 0.64."""
    model = build("llama", "pretrained_lm").model
    with pytest.raises(ValueError, match=r"backbone.lora.targets=.* names the input embedding embed_tokens, "):
        check_targets(model, model.get_decoder(), targets)
    untied = build("qwen3", "pretrained_lm").model
    check_targets(untied, untied.get_decoder(), targets)


@pytest.mark.parametrize(
    "targets", [("q_proj", "lm_head"), ("q_proj", "nose_proj"), ("proj",), ".*(nose)", ".*(q_proj|lm_head)"]
)
def test_a_target_outside_of_the_decoder_is_not_ignored_beside_another(build: Build, targets: Any) -> None:
    for source in ("llama", "qwen3"):
        model = build(source, "pretrained_lm").model
        with pytest.raises(ValueError, match=r"backbone.lora.targets=.* names no layer of the decoder .* k_proj"):
            check_targets(model, model.get_decoder(), targets)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), "layers.0.*proj", ("self_attn.q_proj",)])
def test_layers_of_the_decoder_are_targets(build: Build, targets: Any) -> None:
    for source, name in MODELS.items():
        model = build(source, name).model
        check_targets(model, model.get_decoder(), targets)


def test_a_broken_pattern_is_one_line(build: Build) -> None:
    model = build("llama", "pretrained_lm").model
    with pytest.raises(ValueError, match=r"backbone.lora.targets=\(q_proj: no regular expression"):
        check_targets(model, model.get_decoder(), "(q_proj")


@pytest.mark.parametrize(
    ("source", "targets"), [("llama", "all-linear"), ("llama", ["q_proj"]), ("qwen3", ["q_proj", "embed_tokens"])]
)
@torch.no_grad()
def test_the_merged_model_is_the_trained_one(build: Build, source: str, targets: Any) -> None:
    pytest.importorskip("peft")
    backbone = build(source, "pretrained_lm", lora={"targets": targets})
    generator = torch.Generator().manual_seed(0)
    for name, parameter in backbone.model.named_parameters():
        if "lora_" in name:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    ids = torch.tensor(prompts(backbone)[:1])
    trained, exported = (copy.deepcopy(model)(ids).logits for model in (backbone.model, backbone.language_model()))
    torch.testing.assert_close(exported, trained, atol=1e-4, rtol=1e-4)
