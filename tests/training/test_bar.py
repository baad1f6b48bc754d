"""The bar of training: what it says after a resume, and that a terminal of 80 columns holds it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tqdm.std

from unimm.training.bar import TrainingBar

BATCH, SECONDS = 32, 0.5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time that bars see, which only the test moves."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(tqdm.std, "time", lambda: now.seconds)
    return now


def bar_after(clock: Any, start: int, end: int, steps: int, latest: dict[str, float]) -> TrainingBar:
    """The bar of a process that trained from step ``start`` to ``end`` of ``steps``."""
    callback = TrainingBar(BATCH)
    trainer: Any = SimpleNamespace(global_step=start, max_steps=steps, is_global_zero=True)
    module: Any = SimpleNamespace(latest=latest)
    callback.on_train_start(trainer, module)
    for _ in range(start, end):
        clock.seconds += SECONDS
        trainer.global_step += 1
        callback.on_step_end(trainer, module)
    return callback


@pytest.mark.parametrize("start", [0, 780, 1900])
def test_rate_total_and_time_left_are_right_from_wherever_training_began(
    start: int, clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = bar_after(clock, start, start + 60, 2000, {}).bar
    assert bar is not None
    facts = bar.format_dict
    assert (facts["n"], facts["total"]) == ((start + 60) * BATCH, 2000 * BATCH)
    assert facts["rate"] == pytest.approx(BATCH / SECONDS)
    left = (2000 - start - 60) * SECONDS
    assert f", {bar.format_interval(left)} left" in str(bar)
    assert f"{(start + 60) / 2000:.0%}" in str(bar) and " 64.0 samples/s" in str(bar)


def test_loss_and_gradient_stand_there_and_80_columns_hold_them(clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bar = bar_after(clock, 780, 840, 125_000, {"loss": 0.81234, "gradient_norm": 0.53219}).bar
    assert bar is not None
    bar.ncols, bar.dynamic_ncols = 80, None
    assert str(bar).endswith("loss 0.812, grad 0.53")
    assert len(str(bar)) <= 80


def test_only_the_first_rank_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    callback = TrainingBar(BATCH)
    trainer: Any = SimpleNamespace(global_step=0, max_steps=4, is_global_zero=False)
    callback.on_train_start(trainer, SimpleNamespace(latest={}))  # type: ignore[arg-type]
    callback.close()
    assert capsys.readouterr().err == ""
