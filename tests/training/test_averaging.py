"""Averages against the formulas of their weights, and the two facts that made a tuning of them void."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from unimm.schema import TrainingConfig
from unimm.training.averaging import FixedDecay, RelativeLength, averaging, is_same, mean_age, weights
from unimm.training.callbacks import MovingAverage
from unimm.training.module import ArmModule

LENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5)


@pytest.mark.parametrize("steps", [500, 2000])
@pytest.mark.parametrize("length", LENGTHS)
def test_weights_are_the_power_function_and_their_mean_age_is_the_length(length: float, steps: int) -> None:
    k = 1 / length - 1
    edges = (np.arange(steps + 1) / steps) ** k
    found = np.array(weights(RelativeLength(length), steps))
    np.testing.assert_allclose(found, np.diff(edges), rtol=1e-9, atol=1e-15)
    assert found.sum() == pytest.approx(1)
    # A step's parameters count at its end here, and all along it in the integral: half a step of difference.
    assert mean_age(RelativeLength(length), steps) == pytest.approx(length, abs=1 / steps)


@pytest.mark.parametrize("length", [0.05, 0.1, 0.2])
def test_the_spread_is_the_papers(length: float) -> None:
    """Karras et al. 2024, equation 3: sigma_rel = (g + 1)^(1/2) (g + 2)^-1 (g + 3)^(-1/2), with g = 1 / length - 2."""
    gamma, steps = 1 / length - 2, 4000
    sigma = (gamma + 1) ** 0.5 / (gamma + 2) / (gamma + 3) ** 0.5
    assert sigma == pytest.approx(length * ((1 - length) / (1 + length)) ** 0.5)
    times = (np.arange(steps) + 0.5) / steps
    found = np.array(weights(RelativeLength(length), steps))
    assert np.sqrt(found @ times**2 - (found @ times) ** 2) == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize("steps", [500, 2000])
def test_offered_lengths_differ_at_every_length_of_run(steps: int) -> None:
    ages = [mean_age(RelativeLength(length), steps) for length in LENGTHS]
    assert all(later > 1.8 * earlier for earlier, later in pairwise(ages))
    assert not any(is_same(RelativeLength(a), RelativeLength(b), steps) for a in LENGTHS for b in LENGTHS if a != b)


def test_the_warm_up_hides_a_long_decay() -> None:
    long, longer, longest = FixedDecay(0.99), FixedDecay(0.995), FixedDecay(0.999)
    assert is_same(long, longest, 500) and is_same(longer, longest, 500)
    assert is_same(long, longest, 890) and not is_same(long, longest, 891)
    assert mean_age(longest, 500) == pytest.approx(0.1, abs=0.001) == mean_age(longest, 2000)
    assert not is_same(FixedDecay(0.98), longest, 500)
    assert weights(FixedDecay(0), 3) == [0, 0, 1]


def averaged(chosen: FixedDecay | RelativeLength, values: torch.Tensor, folder: Path) -> torch.Tensor:
    """The callback's average of one parameter that takes these values in turn."""
    module = ArmModule.__new__(ArmModule)
    state = {"w": values[0].clone()}
    object.__setattr__(module, "trained_state", lambda: state)
    average = MovingAverage(chosen, folder, len(values), 0)
    trainer = SimpleNamespace(global_step=0)
    average.average = {"w": torch.zeros_like(values[0])}  # where training starts
    for step, value in enumerate(values, start=1):
        state["w"], trainer.global_step = value, step
        average.on_step_end(trainer, module)
    return average.average["w"]


@pytest.mark.parametrize("chosen", [RelativeLength(0.5), RelativeLength(0.05), FixedDecay(0.9), FixedDecay(0.999)])
def test_the_callback_averages_with_these_weights(chosen: FixedDecay | RelativeLength, tmp_path: Path) -> None:
    values = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = averaged(chosen, values, tmp_path)
    expected = torch.tensor(weights(chosen, 60), dtype=torch.float64) @ values
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if chosen == RelativeLength(0.5):
        torch.testing.assert_close(found, values.mean(dim=0))


def test_a_configuration_has_one_length() -> None:
    budget = {"samples": 64, "batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 0}
    old = TrainingConfig.model_validate(budget)
    assert "ema_length" not in old.model_dump() and averaging(old.model_dump()) == FixedDecay(0.999)
    new = TrainingConfig.model_validate(budget | {"ema_length": 0.2})
    assert new.ema_decay is None and averaging(new.model_dump()) == RelativeLength(0.2)
    assert TrainingConfig.model_validate(new.model_dump()) == new
    for wrong, why in [
        ({"ema_decay": 0.9, "ema_length": 0.2}, "both set"),
        ({"ema_decay": None}, "set one of them"),
        ({"ema_length": 0}, "greater than 0"),
        ({"ema_length": 0.6}, "less than or equal to 0.5"),
    ]:
        with pytest.raises(ValidationError, match=why):
            TrainingConfig.model_validate(budget | wrong)
