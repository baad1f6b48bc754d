"""Per-token diffusion: a token's prediction sees its own noise alone, and all of the conditions."""

from __future__ import annotations

import torch

from unimm.heads.per_token import PerTokenDiffusion

TINY = PerTokenDiffusion.Config(width=32, layers=2, heads=2, blocks=2)


def build() -> PerTokenDiffusion:
    torch.manual_seed(0)
    head = PerTokenDiffusion(TINY, 5, (3, 3), 7)
    for parameter in head.parameters():  # away from gates of zero
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return head.eval()


def arguments():
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 9, 5, generator=generator)
    return noisy, torch.rand(2, generator=generator), torch.randn(2, 4, 7, generator=generator)


@torch.no_grad()
def test_tokens_do_not_see_each_other_s_noise() -> None:
    head, (noisy, time, conditions) = build(), arguments()
    other = noisy.clone()
    other[:, 4] += 1
    before, after = head(noisy, time, conditions), head(other, time, conditions)
    changed = (before != after).any(-1)
    assert changed[:, 4].all() and not changed[:, :4].any() and not changed[:, 5:].any()


@torch.no_grad()
def test_every_token_follows_conditions_time_and_its_place() -> None:
    head, (noisy, time, conditions) = build(), arguments()
    before = head(noisy, time, conditions)
    for other in (head(noisy, time, conditions + 1), head(noisy, 1 - time, conditions)):
        assert bool((before != other).any(-1).all())
    alike = head(noisy[:, :1].expand(-1, 9, -1), time, conditions)
    assert not torch.allclose(alike[:, 0], alike[:, 8]), "the same noise at another place is another token"


def test_gradients_reach_conditions_and_every_parameter() -> None:
    head, (noisy, time, conditions) = build(), arguments()
    conditions.requires_grad_(True)
    head(noisy, time, conditions).square().mean().backward()
    assert conditions.grad is not None and float(conditions.grad.abs().max()) > 0
    # The transformer's input is blank: only its bias says anything.
    without = [name for name, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@torch.no_grad()
def test_a_sampler_plans_once_and_gets_forwards_numbers_to_the_bit() -> None:
    head, (noisy, time, conditions) = build(), arguments()
    expected = [head(noisy, time, conditions), head(-noisy, time / 2, conditions)]
    planned: list[int] = []
    head.planner.register_forward_hook(lambda *_: planned.append(1))
    predict = head.given(conditions)
    assert all(map(torch.equal, (predict(noisy, time), predict(-noisy, time / 2)), expected))
    assert len(planned) == 1
