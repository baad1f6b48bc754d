"""Callbacks: snapshot steps and a log that a resumed run repairs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unimm.training.averaging import FixedDecay
from unimm.training.callbacks import FiniteLoss, JsonLines, MovingAverage, snapshot_steps


@given(steps=st.integers(1, 10**6), count=st.integers(1, 12))
def test_snapshots_are_log_spaced_and_end_at_the_last_step(steps, count):
    at = snapshot_steps(steps, count)
    assert at == sorted(set(at))
    assert at[-1] == steps
    assert at[0] >= 1
    assert len(at) <= count
    for early, late in zip(at, at[2:], strict=False):
        assert len(at) < count or abs(late - 2 * early) <= 2
    if steps >= 2 ** (count / 2 + 2):
        assert len(at) == count


def test_known_snapshots():
    assert snapshot_steps(800, 4) == [283, 400, 566, 800]
    assert snapshot_steps(1, 5) == [1]


def start(callback, step):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    callback.on_train_start(SimpleNamespace(global_step=step, strategy=strategy), None)


@pytest.mark.parametrize(("resumed", "kept"), [(0, []), (25, [10, 20]), (30, [10, 20, 30]), (99, [10, 20, 30, 40])])
def test_log_drops_rows_beyond_the_checkpoint(tmp_path, resumed, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "loss": 1.0}) + "\n" for s in (10, 20, 30, 40)))
    start(JsonLines(path, batch_size=4), resumed)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == kept


def test_a_missing_log_is_no_error(tmp_path):
    start(JsonLines(tmp_path / "metrics.jsonl", batch_size=4), 0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_row_cut_short_by_a_kill_does_not_stop_the_resumed_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n{"step": 20, "lo')
    start(JsonLines(path, batch_size=4), 10)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10]


def test_log_keeps_its_clock(tmp_path):
    one, two = JsonLines(tmp_path / "a", 4), JsonLines(tmp_path / "a", 4)
    one.seconds, one.waited = 12.5, 0.5
    two.load_state_dict(one.state_dict())
    assert (two.seconds, two.waited) == (12.5, 0.5)


def test_average_state_is_a_copy(tmp_path):
    average = MovingAverage(FixedDecay(0.9), tmp_path, 8, 2)
    weights = {"w": torch.ones(2)}
    average.load_state_dict({"average": weights})
    weights["w"].zero_()
    assert average.state_dict()["average"]["w"].tolist() == [1, 1]
    assert average.at == [6, 8]
    average.save(tmp_path / "deep" / "a.safetensors")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops(loss):
    with pytest.raises(ValueError, match="at step 6"):
        FiniteLoss().on_before_backward(SimpleNamespace(global_step=5), None, torch.tensor(loss))


def test_a_finite_loss_passes():
    FiniteLoss().on_before_backward(SimpleNamespace(global_step=5), None, torch.tensor(1.0))
