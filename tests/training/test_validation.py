"""The validation loss against values that are known, whatever the batch, and without a trace in the training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unimm.component_config import ComponentConfig
from unimm.components import Head
from unimm.objectives.cosine import CosineDistance
from unimm.objectives.flow_matching import FlowMatching
from unimm.objectives.mse import MeanSquaredError
from unimm.schema import TrainingConfig
from unimm.training.validation import BINS, NAME, ValidationLoss, _has_losses_at

COUNT, TOKENS, CHANNELS = 64, 4, 8
FLOW = FlowMatching(FlowMatching.Config())


class SaysTheNoisy(Head):
    """Predicts what it is given, with a part that drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5).eval()

    def forward(self, noisy: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
        return self.dropout(noisy) + self.frozen(conditions)


class Model(nn.Module):
    """What the loss needs of a module in training."""

    def __init__(self, objective: Any) -> None:
        super().__init__()
        self.objective, self.device = objective, torch.device("cpu")
        self.config = TrainingConfig(samples=64, batch_size=16, learning_rate=1e-3, warmup_steps=1, precision="fp32")
        self.head = SaysTheNoisy()

    def conditions(self, prompts: list[list[int]]) -> Tensor:
        return torch.tensor(prompts)[:, None, :1].float() * 0


def losses(objective: Any, at_once: int, latents: Tensor | None = None) -> dict[str, float]:
    latents = torch.zeros(COUNT, TOKENS, CHANNELS) if latents is None else latents
    measured = ValidationLoss(latents, [[1]] * COUNT, [8], at_once)
    assert measured.at(7, Model(objective)) == {}  # type: ignore[arg-type]
    return measured.at(8, Model(objective))  # type: ignore[arg-type]


def test_each_bin_has_the_mean_over_its_times() -> None:
    """Of latents 0 the velocity is eps, and a head that says x_t = t eps errs by (1 - t)^2 eps^2."""
    found = losses(FLOW, 16)
    edges = [number / BINS for number in range(BINS + 1)]
    expected = [((1 - a) ** 3 - (1 - b) ** 3) * BINS / 3 for a, b in pairwise(edges)]
    names = [f"{NAME}/{a:.2f}-{b:.2f}" for a, b in pairwise(edges)]
    assert list(found) == [NAME, *names]
    assert [found[name] for name in names] == pytest.approx(expected, rel=0.25)
    assert found[NAME] == pytest.approx(sum(found[name] for name in names) / BINS)


@pytest.mark.parametrize("at_once", [1, 7, COUNT])
def test_it_does_not_hang_on_how_many_go_through_at_once(at_once: int) -> None:
    latents = torch.randn(COUNT, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(1))
    assert losses(FLOW, at_once, latents) == pytest.approx(losses(FLOW, 16, latents), rel=1e-5)


def test_regression_has_one_value_and_it_is_its_loss() -> None:
    latents = torch.randn(COUNT, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(1))
    found = losses(MeanSquaredError(ComponentConfig()), 16, latents)
    assert found == pytest.approx({NAME: float(latents.square().mean())})
    nothing = losses(CosineDistance(CosineDistance.Config()), 16, latents)
    assert nothing == pytest.approx({NAME: 1.0})  # of a prediction without direction


def test_training_goes_on_as_if_it_had_not_been_measured() -> None:
    model = Model(FLOW)
    before = torch.get_rng_state()
    ValidationLoss(torch.zeros(COUNT, TOKENS, CHANNELS), [[1]] * COUNT, [8], 16).at(8, model)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())
    assert model.training and model.head.dropout.training and not model.head.frozen.training


def test_a_loss_of_a_subclasss_own_is_not_measured_by_its_parents() -> None:
    class Own(FlowMatching):
        def loss(self, *arguments: Any) -> Tensor:
            return super().loss(*arguments) * 2

    assert not _has_losses_at(Own(FlowMatching.Config()))
    assert _has_losses_at(FLOW) and _has_losses_at(CosineDistance(CosineDistance.Config()))
