"""Adapters as a strategy: what the mix says, what trains, and that the export is the trained model."""

from __future__ import annotations

import copy

import pydantic
import pytest
import torch

from unimm.backbones.causal_lm import CausalLM, build_language_model, conditions_of
from unimm.components import Lora
from unimm.pretraining.tokenizer import build_tokenizer
from unimm.strategies.lora import LowRank

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
PROMPTS = [[7, 8, 9], [10, 11, 12]]


def backbone() -> CausalLM:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    return CausalLM(
        CausalLM.Config(queries=2), build_language_model(TINY | HEADS, len(tokenizer)), tokenizer, 6, seed=0
    )


def test_the_mix_trains_adapters_on_generation_alone_unless_it_is_told_otherwise() -> None:
    strategy = LowRank(LowRank.Config(rank=4, targets=("q_proj",)))
    mix = strategy.mix()
    assert (strategy.start, mix.train_backbone, mix.understanding_weight) == ("understanding", True, 0)
    assert mix.adapters == Lora(rank=4, alpha=32, targets=("q_proj",))
    joint = LowRank(LowRank.Config(understanding_weight=1.0, understanding_samples=64, start="language"))
    assert joint.start == "language" and joint.mix()[2:4] == (1.0, 64)
    with pytest.raises(pydantic.ValidationError):
        LowRank.Config(rank=0)


def test_a_mistake_names_the_strategy_s_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"^strategy needs peft, which is not installed: pip install 'unimm\[lora\]'"):
        backbone().adapt(Lora(), seed=0)


def test_adapters_and_projector_train_and_nothing_else_of_the_backbone() -> None:
    pytest.importorskip("peft")
    plain, adapted = backbone(), backbone()
    adapted.adapt(Lora(rank=2), seed=0)
    adapted.set_trainable(True)
    with torch.no_grad():
        torch.testing.assert_close(conditions_of(adapted, PROMPTS), conditions_of(plain, PROMPTS))
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith(("projector", "queries")) for name in trained)
    assert sum("lora_" in name for name in trained) == 2 * 7 * 2, "A and B of seven linear layers in two blocks"
    conditions_of(adapted, PROMPTS).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for n, p in adapted.named_parameters() if "lora_B" in n)


@torch.no_grad()
def test_the_export_is_the_trained_model_without_adapters() -> None:
    pytest.importorskip("peft")
    adapted, generator = backbone(), torch.Generator().manual_seed(1)
    adapted.adapt(Lora(rank=2), seed=0)
    for name, parameter in adapted.model.named_parameters():
        if "lora_B" in name:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    exported = adapted.language_model()
    assert not any("lora_" in name for name in exported.state_dict())
    assert exported.state_dict().keys() == backbone().model.state_dict().keys()
    ids = torch.tensor(PROMPTS)
    trained = copy.deepcopy(adapted.model)(ids).logits
    torch.testing.assert_close(exported(ids).logits, trained, atol=1e-5, rtol=1e-5)


def test_adapters_are_not_put_in_twice() -> None:
    from unimm.backbones.pretrained import PretrainedLM

    config = PretrainedLM.Config(pretrained="somewhere", lora=Lora())
    loose = PretrainedLM.__new__(PretrainedLM)
    torch.nn.Module.__init__(loose)
    loose.config = config
    with pytest.raises(ValueError, match=r"backbone\.lora and the strategy both bring adapters: remove backbone\.lora"):
        loose.check(LowRank(LowRank.Config()).mix())
    loose.config = PretrainedLM.Config(pretrained="somewhere", dtype="bfloat16")
    loose.check(LowRank(LowRank.Config()).mix())
