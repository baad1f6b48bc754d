"""GGUF files become folders of `transformers` that hold the same model and the same tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import PackagePath
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from unimm.backbones import gguf_import
from unimm.cli import app

Checkpoint = Callable[[str], Path]
runner = CliRunner()


def invoke(*arguments: str) -> Any:
    return runner.invoke(app, ["checkpoint", "import", *arguments])


def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries and keys as llama.cpp has them, whose rotary pairs are neighbours."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def as_gguf(folder: Path, path: Path) -> None:
    """A Llama folder of `transformers` in llama.cpp's format, by the `gguf` package and its tensor names."""
    import gguf
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    words = json.loads((folder / "tokenizer.json").read_text())
    ids = {**words["model"]["vocab"], **{entry["content"]: entry["id"] for entry in words["added_tokens"]}}
    marks = {entry["id"] for entry in words["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types([3 if number in marks else 1 for number in range(len(ids))])
    writer.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":  # shared with the embedding, as in SmolLM2
            continue
        stem, _, kind = name.rpartition(".")
        if "q_proj" in name or "k_proj" in name:
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            weight = permuted(weight, heads)
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def test_the_folder_holds_the_model_of_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    original = checkpoint("llama")
    as_gguf(original, tmp_path / "tiny.gguf")
    result = invoke(str(tmp_path / "tiny.gguf"), str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "LlamaForCausalLM" in result.stdout
    ids = torch.arange(20)[None]
    found, expected = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / "out", original))
    torch.testing.assert_close(found(ids).logits, expected(ids).logits, atol=1e-5, rtol=1e-5)
    words = [AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", original)]
    text = "Please generate an image: two blue squares, 3 red circles"
    assert words[0](text)["input_ids"][-10:] == words[1](text)["input_ids"][-10:]
    again = invoke(str(tmp_path / "tiny.gguf"), str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "is not empty: give a new or empty folder" in again.stderr


def test_the_imported_folder_is_a_backbone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """With the comparison that every pretrained backbone passes when it is built."""
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from unimm.backbones.pretrained import PretrainedLM
    from unimm.encoders.clip import Clip
    from unimm.foundation.folder import Foundation

    as_gguf(checkpoint("llama"), tmp_path / "tiny.gguf")
    gguf_import.import_gguf(str(tmp_path / "tiny.gguf"), tmp_path / "out")
    foundation = Foundation("scenes-nano")
    config = PretrainedLM.Config(pretrained=str(tmp_path / "out"), queries=4)
    PretrainedLM.build(config, foundation, Clip.build(Clip.Config(), foundation), "language", 0)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_import, "find_spec", lambda name: None)
    result = invoke("model.gguf", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "reading GGUF files needs gguf and accelerate: pip install 'unimm[gguf]'" in result.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing.gguf", "no file nothing.gguf: give a GGUF file"),
        ("llm-of-nobody", "no installed package of that name: pip install it first"),
        ("pip", "the package pip has to carry one GGUF file, and has none"),
        (__file__, "is no GGUF file by its name"),
    ],
)
def test_a_source_that_is_none_is_said(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gguf_import.gguf_file(source)


def test_the_one_file_inside_of_a_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = PackagePath("llm_tiny/tiny.Q4_1.gguf")
    inside.dist = SimpleNamespace(locate_file=lambda path: tmp_path / path)  # type: ignore[assignment]
    monkeypatch.setattr(gguf_import, "files", lambda name: [PackagePath("llm_tiny/__init__.py"), inside])
    assert gguf_import.gguf_file("llm-tiny") == tmp_path / "llm_tiny" / "tiny.Q4_1.gguf"
