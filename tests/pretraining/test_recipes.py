"""The loop that trains a foundation's parts: stopped anywhere, it ends with the weights of one that never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unimm.pretraining import recipes
from unimm.pretraining.recipes import drawn, fit


def trained(unfinished: Path | None, stop: int | None = None) -> tuple[Tensor, float]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step: int) -> Tensor:
        if step == stop:
            raise KeyboardInterrupt
        batch = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    cost = fit("line", model, loss, 8, 12, unfinished=unfinished)
    return model.weight.detach(), cost.loss


def test_a_part_that_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "KEPT_EVERY", 5)
    straight, loss = trained(None)
    kept = tmp_path / "part" / "unfinished.ckpt"
    with pytest.raises(KeyboardInterrupt):
        trained(kept, stop=8)
    assert torch.load(kept, weights_only=True)["step"] == 5
    again, resumed_loss = trained(kept)
    assert torch.equal(again, straight) and resumed_loss == loss


def test_the_first_draw_has_the_recipes_own_seeds() -> None:
    assert [drawn(seed, 0) for seed in (1, 23)] == [1, 23]
    assert len({drawn(seed, draw) for seed in range(40) for draw in range(5)}) == 200
