"""FLOPs: known numbers, attention on the CPU, the guard, and the formula on the head and the backbone."""

from __future__ import annotations

import pytest
import torch
from flops_formula import Attention, Projection, analytic_flops
from tiny_causal_lm import tiny_causal_lm
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from unimm.backbones.causal_lm import conditions_of
from unimm.flops import count_flops, weights
from unimm.heads.dit import DiffusionTransformer


def test_linear_and_convolution():
    linear, convolution = nn.Linear(16, 32), nn.Conv2d(3, 8, 3, padding=1)
    x, image = torch.randn(4, 16), torch.randn(2, 3, 10, 10)
    assert count_flops(lambda: linear(x)) == 2 * 4 * 16 * 32
    assert count_flops(lambda: convolution(image)) == 2 * 2 * 100 * 8 * 27
    assert count_flops(lambda: linear(x).sum().backward()) == 2 * 2 * 4 * 16 * 32  # its input needs no gradient


def test_a_frozen_first_layer_lowers_the_backward_pass():
    first, second = nn.Linear(64, 64), nn.Linear(64, 16)
    x = torch.randn(16, 64)

    def step() -> None:
        second(first(x)).sum().backward()

    forward = 2 * 16 * (64 * 64 + 64 * 16)
    whole = count_flops(step)
    first.requires_grad_(False)
    assert whole == 2 * forward + 2 * 16 * 64 * 16
    assert count_flops(step) == forward + 2 * 16 * 64 * 16


def qkv(tokens: int = 64, requires_grad: bool = False) -> list[torch.Tensor]:
    return [torch.randn(4, 4, tokens, 16, requires_grad=requires_grad) for _ in range(3)]


def test_attention_counts_on_the_cpu():
    assert count_flops(lambda: scaled_dot_product_attention(*qkv())) == 4194304
    assert count_flops(lambda: scaled_dot_product_attention(*qkv(requires_grad=True)).sum().backward()) == 14680064
    assert analytic_flops([], [Attention(4, 64, 64, 64)], training=False) == 4194304
    assert analytic_flops([], [Attention(4, 64, 64, 64)], training=True) == 14680064


def test_attention_counts_like_plain_matrix_products():
    with sdpa_kernel(SDPBackend.MATH):
        assert count_flops(lambda: scaled_dot_product_attention(*qkv())) == 4194304


def test_masked_and_grouped_attention_count_in_full():
    query, key, value = qkv()
    mask = torch.ones(64, 64, dtype=torch.bool).tril()
    assert count_flops(lambda: scaled_dot_product_attention(query, key, value, mask)) == 4194304
    assert count_flops(lambda: scaled_dot_product_attention(query, key, value, is_causal=True)) == 4194304
    grouped = key[:, :2], value[:, :2]
    assert count_flops(lambda: scaled_dot_product_attention(query, *grouped, enable_gqa=True)) == 4194304


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fast_path_is_off_while_counting_and_then_as_before(enabled):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(2, 8, 16)
    seen = []

    def step() -> None:
        seen.append(torch.backends.mha.get_fastpath_enabled())
        with torch.inference_mode():
            layer(x)

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        count = count_flops(step)
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    assert seen == [False]
    assert count == analytic_flops([Projection(weights(layer), 16)], [Attention(2, 8, 8, 16)], training=False)


def test_a_module_that_counts_nothing_is_an_error():
    recurrent, x = nn.LSTM(8, 8), torch.randn(3, 2, 8)
    with pytest.raises(RuntimeError, match=r"hold matrices: LSTM\(8, 8\)"):
        count_flops(lambda: recurrent(x))
    assert torch.nn.modules.module._global_forward_hooks == {}
    assert torch.nn.modules.module._global_forward_pre_hooks == {}


def test_norms_and_embeddings_may_count_nothing():
    embedding = nn.Sequential(nn.Embedding(10, 8), nn.LayerNorm(8))
    assert count_flops(lambda: embedding(torch.tensor([1, 2]))) == 0
    assert weights(embedding) == 0


def test_counts_repeat_and_grow_with_the_batch():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def count(batch: int) -> int:
        return count_flops(lambda: layer(torch.randn(batch, 8, 16)).sum().backward())

    assert count(2) == count(2)
    assert count(4) == 2 * count(2)


def head_formula(head: DiffusionTransformer, batch: int, tokens: int, queries: int, training: bool) -> int:
    """Its modulations see one vector a sample, its cross-attention's keys and values the conditions."""
    seen = {"norm1.linear": batch, "time_caption_embed": batch, "norm_out.linear_1": batch}
    seen |= {"attn2.to_k": batch * queries, "attn2.to_v": batch * queries}
    projections = [
        Projection(p.numel(), next((n for part, n in seen.items() if part in name), batch * tokens))
        for name, p in head.model.named_parameters()
        if p.ndim >= 2
    ]
    attentions = [Attention(batch, tokens, keys, 64) for keys in (tokens, queries)] * 2
    return analytic_flops(projections, attentions, training)


@pytest.mark.parametrize("training", [False, True])
def test_the_head_agrees_with_the_formula(training):
    head = DiffusionTransformer(DiffusionTransformer.Config(width=64, layers=2, heads=4), 8, (6, 6), 32)
    arguments = torch.randn(3, 36, 8), torch.rand(3), torch.randn(3, 16, 32)

    def step() -> None:
        with torch.set_grad_enabled(training):
            output = head(*arguments)
        if training:
            output.sum().backward()

    assert count_flops(step) == pytest.approx(head_formula(head, 3, 36, 16, training), rel=0.02)


@pytest.mark.parametrize("training", [False, True])
def test_the_backbone_agrees_with_the_formula(training):
    model = tiny_causal_lm(queries=8)
    prompts = [list(range(5, 45))] * 3

    def step() -> None:
        with torch.set_grad_enabled(training):
            states = conditions_of(model, prompts)
        if training:
            states.sum().backward()

    formula = analytic_flops(
        [Projection(weights(model.model.model.layers), 3 * 48)], [Attention(3, 48, 48, 32)] * 2, training
    )
    assert count_flops(step) == pytest.approx(formula, rel=0.02)


def test_a_frozen_backbone_costs_less():
    model = tiny_causal_lm(queries=8)
    prompts = [list(range(5, 45))] * 3

    def step() -> None:
        conditions_of(model, prompts).sum().backward()

    whole = count_flops(step)
    for parameter in model.core_parameters():
        parameter.requires_grad_(False)
    assert count_flops(step) < whole / 2
