"""Pretrained backbones: our passes against the library's own, prompts in the checkpoint's words, and refusals."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, conditions_of, pad_left
from unimm.backbones.wording import answer_ids, generation_ids, question_ids
from unimm.components import Inputs, Mix
from unimm.encoders.pixels import Pixels
from unimm.evaluation.asking import first_tokens
from unimm.foundation.folder import Foundation
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.registry import backbones

Checkpoint = Callable[[str], Path]
CAPTIONS = ["a photo of a red circle", "two blue squares and a star", "a ring"]
MODELS = {"llama": "pretrained_lm", "qwen3": "pretrained_lm", "qwen2_5_vl": "pretrained_vlm"}
FROZEN, TRAINED = Mix(False, 1.0, 0.0), Mix(True, 1.0, 1.0)
FOUNDATION = Foundation("scenes-nano")
ENCODER = Pixels(Pixels.Config(patch=2), side=8)


def build(folder: Path, name: str, seed: int = 0, **settings: Any) -> Any:
    cls: Any = backbones.get(name)
    settings = ({"images": "encoder"} if name == "pretrained_lm" else {}) | {"queries": 4} | settings
    backbone: CausalLM = cls.build(
        cls.Config(pretrained=str(folder), **settings), FOUNDATION, ENCODER, "language", seed
    )
    return backbone.eval()


def prompts(backbone: CausalLM) -> list[list[int]]:
    return [generation_ids(backbone.tokenizer, caption) for caption in CAPTIONS]


def model_of(folder: Path, name: str) -> Any:
    import transformers

    return getattr(transformers, backbones.get(name).auto_class).from_pretrained(folder).eval()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("source", "name"), MODELS.items())
@torch.no_grad()
def test_logits_are_the_librarys_own(checkpoint: Checkpoint, source: str, name: str) -> None:
    backbone = build(checkpoint(source), name)
    row = prompts(backbone)[0]
    ids, mask = pad_left([row], 0)[:2]
    found = backbone(Inputs(ids, mask), with_queries=False).logits
    expected = model_of(checkpoint(source), name)(input_ids=torch.tensor([row])).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    final = backbone(Inputs(ids, mask), with_queries=False, last=1).logits
    torch.testing.assert_close(final, expected[:, -1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("source", "name"), MODELS.items())
def test_queries_follow_the_prompt(checkpoint: Checkpoint, source: str, name: str) -> None:
    """The library's pass over prompt and queries; padding changes nothing; a frozen model gives the same gradients."""
    backbone = build(checkpoint(source), name)
    rows = prompts(backbone)
    together = conditions_of(backbone, rows)
    assert together.shape == (3, 4, backbone.width) == (3, 4, 32)
    model = model_of(checkpoint(source), name)
    embedded = model.get_input_embeddings()(torch.tensor([rows[1]]))
    whole = torch.cat([embedded, backbone.queries[None]], dim=1)
    expected = model.base_model(inputs_embeds=whole).last_hidden_state[:, -4:]
    torch.testing.assert_close(together[1:2], expected, atol=1e-4, rtol=1e-4)
    unfrozen = copy.deepcopy(backbone)
    for parameter in unfrozen.core_parameters():
        parameter.requires_grad_(True)
    results = []
    for either in (backbone, unfrozen):
        states = conditions_of(either, rows)
        (gradient,) = torch.autograd.grad(states.square().sum(), either.queries)
        results.append((states, gradient))
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_vision_language_model_sees_as_the_library_has_it_see(checkpoint: Checkpoint) -> None:
    from transformers import AutoProcessor

    folder, question = checkpoint("qwen2_5_vl"), "how many squares are there ?"
    backbone = build(folder, "pretrained_vlm", resolution=112)
    images = (torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 255).round().to(torch.uint8)
    eyes = backbone.image_encoder(FOUNDATION, ENCODER)
    shown = eyes.encode(images.float() / 255)
    spec = eyes.latent_spec()
    assert shown.shape == (2, spec.tokens, spec.channels) == (2, 16, 32)
    rows = [question_ids(backbone.tokenizer, text, 16) for text in (question, f"{question} please")]
    ids, mask = pad_left(rows, backbone.tokenizer.pad_token_id)[:2]
    found = backbone(Inputs(ids, mask, shown), with_queries=False).logits
    processor, model = AutoProcessor.from_pretrained(folder), model_of(folder, "pretrained_vlm")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=[images[0]], return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == rows[0]
    expected = model(**inputs).logits
    torch.testing.assert_close(found[:1, -len(rows[0]) :], expected, atol=1e-4, rtol=1e-4)
    other = backbone(Inputs(ids, mask, shown.flip(0)), with_queries=False).logits
    assert float((other[:, -1] - found[:, -1]).abs().max()) > 1e-5


@torch.no_grad()
def test_a_language_model_sees_through_its_projector(checkpoint: Checkpoint) -> None:
    backbone = build(checkpoint("llama"), "pretrained_lm")
    rows = [question_ids(backbone.tokenizer, text, 3) for text in ("a star ?", "is there a blue ring ?")]
    assert all(row.count(backbone.image_id) == 3 for row in rows)
    ids, mask = pad_left(rows, 0)[:2]
    images = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0))
    logits = backbone(Inputs(ids, mask, images), with_queries=False).logits
    alone = backbone(Inputs(*pad_left(rows[1:], 0)[:2], images[1:]), with_queries=False).logits
    torch.testing.assert_close(logits[1:, -len(rows[1]) :], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, backbone(Inputs(ids, mask, images.flip(0)), with_queries=False).logits)


@pytest.mark.parametrize(("source", "name"), MODELS.items())
def test_sampling_words_prompts_as_training_does(checkpoint: Checkpoint, source: str, name: str) -> None:
    backbone, seen = build(checkpoint(source), name), []

    def sample(head: Any, conditions: Tensor, shape: Any, noise: Any, keys: Any) -> Tensor:
        seen.append(conditions)
        return torch.zeros(len(conditions), *shape)

    decoder: Any = SimpleNamespace(decode=lambda latents, noise, keys: torch.zeros(len(latents), 3, 2, 2))
    spec: Any = SimpleNamespace(tokens=4, channels=3)
    pipeline = Pipeline(backbone, None, SimpleNamespace(sample=sample), decoder, spec)  # type: ignore[arg-type]
    pipeline(CAPTIONS, ["a", "b", "c"], NoiseSource(0, "sampling"), batch=2)
    with torch.no_grad():
        expected = conditions_of(backbone, prompts(backbone))
    torch.testing.assert_close(torch.cat(seen), expected, atol=1e-5, rtol=1e-5)


def test_the_template_is_the_checkpoints_own(checkpoint: Checkpoint) -> None:
    texts = {}
    for source, name in MODELS.items():
        tokenizer: Any = build(checkpoint(source), name).tokenizer
        texts[source] = tokenizer.inner.decode(generation_ids(tokenizer, CAPTIONS[0]))
        answer = answer_ids(tokenizer, "yes")
        assert answer[-1] == tokenizer.inner.eos_token_id
        assert tokenizer.inner.decode(answer[:-1]) == "yes"
    request = f"Please generate an image based on the following caption: {CAPTIONS[0]}"
    assert texts["llama"].endswith(f"user<|end_header_id|>\n\n{request}<|eot_id|>" + texts["llama"][-47:])
    assert texts["qwen2_5_vl"].endswith(f"<|im_start|>user\n{request}<|im_end|>\n<|im_start|>assistant\n")
    assert texts["qwen3"].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")  # no room to think


def test_no_date_of_today_enters_a_prompt(checkpoint: Checkpoint) -> None:
    tokenizer: Any = build(checkpoint("llama"), "pretrained_lm").tokenizer
    chat = [{"role": "user", "content": "a ring"}]
    today = tokenizer.inner.apply_chat_template(chat, tokenize=False)
    assert datetime.now().strftime("%d %b %Y") in today  # what the template does when it is left alone
    assert "Today Date: 26 Jul 2024" in tokenizer.inner.decode(generation_ids(tokenizer, "a ring"))


def test_answers_are_told_apart_by_their_first_token(checkpoint: Checkpoint) -> None:
    backbone = build(checkpoint("qwen3"), "pretrained_lm")
    assert len(set(first_tokens(backbone, ["yes", "no"]))) == 2
    with pytest.raises(ValueError, match="begins two of the answers"):
        first_tokens(backbone, ["xylophone", "xyz"])


@pytest.mark.parametrize(("source", "name"), MODELS.items())
def test_seed_decides_queries_and_projector_and_nothing_else(checkpoint: Checkpoint, source: str, name: str) -> None:
    state = torch.get_rng_state()
    one, same, other = (build(checkpoint(source), name, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
        fresh = key.startswith(("queries", "projector"))
        assert torch.equal(value, other.state_dict()[key]) != (fresh and value.ndim > 0)


def test_only_the_language_model_can_be_trained(checkpoint: Checkpoint) -> None:
    backbone = build(checkpoint("qwen2_5_vl"), "pretrained_vlm")
    trainable = {id(parameter) for parameter in backbone.core_parameters()}
    names = {name for name, parameter in backbone.named_parameters() if id(parameter) in trainable}
    assert any(name.startswith("model.lm_head") for name in names)
    assert not any("visual" in name or name == "queries" for name in names)
    assert len(names) + 1 + sum("visual" in name for name, _ in backbone.named_parameters()) == len(
        list(backbone.parameters())
    )
    assert not any(parameter.requires_grad for parameter in backbone.core_parameters())


@pytest.mark.parametrize(("source", "name"), MODELS.items())
def test_the_outline_needs_no_weights(checkpoint: Checkpoint, tmp_path: Path, source: str, name: str) -> None:
    shutil.copy(checkpoint(source) / "config.json", tmp_path)
    cls: Any = backbones.get(name)
    outline = cls.on_meta(cls.Config(pretrained=str(tmp_path)))
    model = model_of(checkpoint(source), name)
    assert outline.width == 32
    assert sum(p.numel() for p in outline.model.parameters()) == sum(p.numel() for p in model.parameters())
    assert all(parameter.is_meta for parameter in outline.model.parameters())


@pytest.mark.parametrize(("source", "name"), MODELS.items())
@pytest.mark.parametrize("damage", ["missing", "leftover", "shape", "truncated", "shard"])
def test_anything_but_whole_weights_is_refused_by_name(
    checkpoint: Checkpoint, tmp_path: Path, source: str, name: str, damage: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint(source), folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    victim = sorted(key for key in weights if key.endswith("mlp.down_proj.weight"))[0]
    if damage == "missing":
        del weights[victim]
    elif damage == "leftover":
        victim = "surplus.weight"
        weights[victim] = torch.zeros(2, 2)
    elif damage == "shape":
        weights[victim] = weights[victim][:1].clone()
    save_file(weights, file, metadata={"format": "pt"})
    if damage == "truncated":
        victim = file.name
        file.write_bytes(file.read_bytes()[:-10])
    if damage == "shard":
        victim = "model-00002-of-00002.safetensors"
        shards = dict.fromkeys(weights, "model-00001-of-00002.safetensors") | {"lm_head.weight": victim}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
        file.rename(folder / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=victim.replace(".", r"\.").removeprefix(r"model\.")) as refusal:
        build(folder, name)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("qwen2_5_vl", "pretrained_lm", r"config.json: model_type 'qwen2_5_vl' is no language model .*pretrained_vlm"),
        ("llama", "pretrained_vlm", r"config.json: model_type 'llama' is no vision-language model .*pretrained_lm"),
        ("clip_vision", "pretrained_lm", r"config.json: model_type 'clip_vision_model' is no language model"),
        ("autoencoder_kl", "pretrained_lm", r"config.json: model_type None is no language model"),
        ("open_clip", "pretrained_lm", r"config.json is missing .* instruction-tuned"),
        ("llama_base", "pretrained_lm", r"llama_base: the tokenizer has no chat template .* instruction-tuned"),
    ],
)
def test_the_wrong_checkpoint_is_one_clear_message(checkpoint: Checkpoint, source: str, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(checkpoint(source), name)


def test_coarse_weights_do_not_train(checkpoint: Checkpoint) -> None:
    """A step of 1e-4 is less than half of bfloat16's spacing at 0.5."""
    backbone = build(checkpoint("llama"), "pretrained_lm", dtype="bfloat16")
    backbone.check(FROZEN)
    with pytest.raises(ValueError, match=r"backbone.dtype=bfloat16 is too coarse for weights that train.*float32"):
        backbone.check(TRAINED)


def test_an_old_transformers_is_named_with_the_version_that_is_needed(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(transformers, "__version__", "4.57.6")
    said = (
        r"backbone=pretrained_vlm needs transformers 5 or newer, and 4.57.6 is installed: pip install 'transformers>=5'"
    )
    with pytest.raises(ValueError, match=said):
        build(checkpoint("qwen2_5_vl"), "pretrained_vlm")
    build(checkpoint("llama"), "pretrained_lm")


def test_a_model_that_the_installed_transformers_does_not_know_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / "newer"
    shutil.copytree(checkpoint("llama"), folder)
    content = json.loads((folder / "config.json").read_text()) | {
        "model_type": "llama99",
        "transformers_version": "9.1",
    }
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"installed transformers \S+ knows no model_type 'llama99' \(saved by 9.1\)"):
        build(folder, "pretrained_lm")


@pytest.mark.parametrize("name", ["pretrained_lm", "pretrained_vlm"])
@pytest.mark.parametrize("path", ["./missing", "../missing/folder", "missing", "/missing"])
def test_a_missing_folder_is_one_line(name: str, path: str) -> None:
    cls: Any = backbones.get(name)
    with pytest.raises(ValueError, match=rf"pretrained={path}: no such folder, and not a hub id \(owner/name\)"):
        cls.build(cls.Config(pretrained=path), FOUNDATION, ENCODER, "language", 0)
