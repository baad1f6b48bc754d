"""The diffusion transformer: shapes, gradients, and conditions that matter."""

from __future__ import annotations

import pydantic
import pytest
import torch

from unimm.components import parameter_count
from unimm.heads.dit import DiffusionTransformer

TINY = DiffusionTransformer.Config(width=32, layers=2, heads=2)


def build(aligned: int = 0, grid: tuple[int, int] = (3, 3), conditions: int = 7, seed: int = 0):
    torch.manual_seed(seed)
    return DiffusionTransformer(TINY, 5, grid, conditions, aligned_channels=aligned)


def arguments(batch: int = 2, tokens: int = 9, queries: int = 4):
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(batch, tokens, 5, generator=generator)
    return noisy, torch.rand(batch, generator=generator), torch.randn(batch, queries, 7, generator=generator)


def stirred(head: DiffusionTransformer) -> DiffusionTransformer:
    """The head away from its zero-initialised gates."""
    torch.manual_seed(2)
    for parameter in head.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return head


def test_shape_and_parameters():
    head = build()
    assert head(*arguments()).shape == (2, 9, 5)
    assert parameter_count(head) > 0
    assert "rotary" not in head.state_dict()


@pytest.mark.parametrize("side", [2, 4])
def test_other_grids(side):
    noisy, time, conditions = arguments(tokens=side * side)
    assert build(grid=(side, side))(noisy, time, conditions).shape == noisy.shape


def test_aligned_conditions_on_the_same_grid():
    noisy, time, _ = arguments()
    conditions = torch.randn(2, 9, 7)
    assert build(aligned=7)(noisy, time, conditions).shape == (2, 9, 5)


def test_gradients_reach_conditions_and_every_used_parameter():
    head, (noisy, time, conditions) = stirred(build()), arguments()
    conditions.requires_grad_(True)
    head(noisy, time, conditions).square().mean().backward()
    assert conditions.grad is not None
    assert bool((conditions.grad.abs().amax(dim=2) > 0).all())
    without = [n for n, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_a_fresh_head_learns_from_conditions_within_two_steps():
    head, (noisy, time, conditions) = build(), arguments()
    conditions.requires_grad_(True)
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        conditions.grad = None
        (head(noisy, time, conditions) - 1).square().mean().backward()
        optimiser.step()
    assert conditions.grad is not None
    assert float(conditions.grad.abs().max()) > 0


def test_samples_do_not_see_each_other():
    head, (noisy, time, conditions) = stirred(build()).eval(), arguments()
    with torch.no_grad():
        whole = head(noisy, time, conditions)
        parts = torch.cat([head(noisy[i : i + 1], time[i : i + 1], conditions[i : i + 1]) for i in range(2)])
        moved = head(noisy, time, conditions + 1)
        later = head(noisy, 1 - time, conditions)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(moved, whole)
    assert not torch.allclose(later, whole)


def test_width_must_fit_the_rotary_embedding():
    with pytest.raises(pydantic.ValidationError, match="multiple of"):
        DiffusionTransformer.Config(width=36, layers=1, heads=2)


@pytest.mark.parametrize(("width", "millions"), [(2048, 1362.3), (3584, 1365.0)])
def test_the_papers_head_has_the_papers_parameters(width, millions):
    """BLIP3-o's NextDiT: 1.362 B parameters after Llama-3.2-1B (2048 wide), 1.365 B after Qwen2.5-VL-7B (3584 wide)."""
    config = DiffusionTransformer.Config(width=1792, layers=24, heads=28, ffn_multiple=256, project_conditions=True)
    with torch.device("meta"):
        head = DiffusionTransformer(config, 1792, (8, 8), width)
    assert parameter_count(head) / 1e6 == pytest.approx(millions, abs=0.05)
    assert all(parameter.is_meta for parameter in head.parameters())


def test_projected_conditions_reach_the_head():
    config = DiffusionTransformer.Config(width=32, layers=1, heads=2, project_conditions=True)
    head, (noisy, time, conditions) = stirred(DiffusionTransformer(config, 5, (3, 3), 7)), arguments()
    assert head(noisy, time, conditions).shape == noisy.shape
    assert not torch.allclose(head(noisy, time, conditions + 1), head(noisy, time, conditions))
    assert {name.split(".")[0] for name in build().state_dict()} == {"model"}


@pytest.mark.parametrize("compiling", [False, True])
def test_attention_is_the_librarys_to_the_bit_forwards_and_backwards(compiling, monkeypatch):
    from diffusers.models.attention_processor import LuminaAttnProcessor2_0

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    ours, theirs, arguments_ = stirred(build()), stirred(build()), arguments()
    for layer in theirs.model.layers:
        layer.attn1.set_processor(LuminaAttnProcessor2_0())
        layer.attn2.set_processor(LuminaAttnProcessor2_0())
    theirs.rotary = torch.view_as_complex(theirs.rotary)
    outputs = []
    for head in (ours, theirs):
        outputs.append(head(*arguments_))
        outputs[-1].square().mean().backward()
    assert torch.equal(*outputs)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if mine.requires_grad:
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-8, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("projected", [False, True])
def test_a_sampler_reads_the_conditions_once_and_gets_forwards_numbers_to_the_bit(projected):
    config = DiffusionTransformer.Config(width=32, layers=2, heads=2, project_conditions=projected)
    torch.manual_seed(0)
    head, (noisy, time, conditions) = stirred(DiffusionTransformer(config, 5, (3, 3), 7)).eval(), arguments()
    expected = [head(noisy, time, conditions), head(-noisy, time / 2, conditions)]
    read = []
    for layer in head.model.layers:
        for part in (layer.attn2.to_k, layer.attn2.to_v):
            part.register_forward_hook(lambda *_: read.append(1))
    predict = head.given(conditions)
    assert all(map(torch.equal, (predict(noisy, time), predict(-noisy, time / 2)), expected))
    assert len(read) == 2 * 2
