"""Ranks as launchers name them, and shares of a step's batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from unimm.components import Mix
from unimm.config import dump, load
from unimm.runs.outcome import prepare
from unimm.strict_yaml import ConfigError
from unimm.training.callbacks import StepCallback, StopOnSignals
from unimm.training.distributed import ALONE, Ranks, StageOver, join, launcher, ranks_a_node
from unimm.training.step_data import Share, shares
from unimm.training.trainer import check_batch, check_gradients, check_questions

ARM = Path(__file__).parents[2] / "ablations" / "clip_fm_joint.yaml"
CPU = torch.device("cpu")
MIX = Mix(train_backbone=True, generation_weight=1, understanding_weight=1)
SLURM = {
    "SLURM_NTASKS": "16",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "11",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NAME": "arm",
    "SLURM_JOB_ID": "1234567",
    "SLURM_NODELIST": "gpu[07-08]",
}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "4", "LOCAL_RANK": "1"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in {*SLURM, *TORCHRUN, "MASTER_ADDR", "MASTER_PORT"}:
        monkeypatch.delenv(name, raising=False)

    def given(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return given


def test_a_process_by_itself_is_alone(environment: Any) -> None:
    assert launcher() is None
    assert join(CPU) is ALONE
    environment({**SLURM, "SLURM_NTASKS": "1"})
    assert join(CPU) is ALONE


def test_slurm_names_ranks_and_leaves_requeueing_to_the_user(environment: Any) -> None:
    environment(SLURM)
    found = launcher()
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue
    assert (found.world_size(), found.global_rank(), found.local_rank(), ranks_a_node(found)) == (16, 11, 3, 8)
    assert found.main_address == "gpu07"


def test_torchrun_names_ranks_also_within_slurm(environment: Any) -> None:
    environment({**SLURM, **TORCHRUN})
    found = launcher()
    assert found is not None
    assert (found.world_size(), found.global_rank(), found.local_rank(), ranks_a_node(found)) == (6, 4, 1, 3)


def test_ranks_that_stay_go_on_after_a_training_and_leave_when_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "barrier", lambda group: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    first, second = (Ranks(rank, 2, rank, 2, group=SimpleNamespace(), stay=True) for rank in (0, 1))  # type: ignore[arg-type]
    first.leave()
    with pytest.raises(StageOver):
        second.leave()
    with pytest.raises(SystemExit) as left:
        second.leave(130)
    assert left.value.code == 130
    with pytest.raises(SystemExit) as left:
        replace(second, stay=False).leave()
    assert left.value.code == 0


def test_more_ranks_than_gpus_are_refused(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(TORCHRUN)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="3 ranks were started on this node, which shows 1 GPUs"):
        join(torch.device("cuda"))


@given(ranks=st.integers(1, 9), micro=st.integers(1, 5), begin=st.integers(0, 99), length=st.integers(0, 99))
def test_shares_cut_a_batch_without_rest(ranks: int, micro: int, begin: int, length: int) -> None:
    parts = [share.of(begin, begin + length) for rank in range(ranks) for share in shares(rank, ranks, micro)]
    joined = [position for first, after in parts for position in range(first, after)]
    assert joined == list(range(begin, begin + length))
    sizes = {after - first for first, after in parts}
    assert max(sizes) - min(sizes) <= 1
    assert Share().of(begin, begin + length) == (begin, begin + length)


def training(**settings: Any) -> Any:
    return load(ARM, ["profile=tiny", *(f"training.{key}={value}" for key, value in settings.items())]).training


def test_what_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size \(16\) cannot be cut into 3 equal micro-batches"):
        training(gradient_accumulation_steps=3)
    with pytest.raises(ValueError, match="=16 cannot be split over 3 ranks x 2 micro-batches: choose a multiple of 6"):
        check_batch(training(gradient_accumulation_steps=2), Ranks(0, 3))
    split = training(distributed="fsdp2")
    with pytest.raises(ValueError, match="among ranks, and there is one: start several with torchrun"):
        check_batch(split, ALONE)
    with pytest.raises(ValueError, match=r"every rank and micro-batch of a step \(4\), and some steps have 3"):
        check_questions(split, MIX, Ranks(0, 4), 3)
    with pytest.raises(ValueError, match=r"keep generation's gradient from a backbone.*use training.distributed=ddp"):
        check_gradients(split, MIX._replace(generation_gradient=False))
    check_gradients(training(), MIX._replace(generation_gradient=False))
    check_gradients(split, MIX)
    check_batch(split, Ranks(0, 4))
    check_questions(split, MIX, Ranks(0, 4), 4)
    check_questions(training(), MIX, Ranks(0, 4), 0)


def test_a_run_resumes_with_other_micro_batches(tmp_path: Path) -> None:
    before = load(ARM, ["profile=tiny"])
    after = load(ARM, ["profile=tiny", "training.gradient_accumulation_steps=4", "training.distributed=fsdp2"])
    prepare(before, tmp_path, resume=False, overwrite=False)
    prepare(after, tmp_path, resume=True, overwrite=False)
    assert (tmp_path / "config.yaml").read_text() == dump(after)


def test_callbacks_act_after_the_last_micro_batch() -> None:
    class Noting(StepCallback):
        steps = 0

        def on_step_end(self, *args: Any) -> None:
            self.steps += 1

    noting, trainer = Noting(), SimpleNamespace(accumulate_grad_batches=3)
    seen = []
    for index in range(7):
        noting.on_train_batch_end(trainer, None, None, 0, index)  # type: ignore[arg-type]
        seen.append(noting.steps)
    assert seen == [0, 0, 1, 1, 1, 2, 2]


def test_a_signal_to_any_rank_stops_this_one() -> None:
    class Two(Ranks):
        def sum(self, values: Any) -> list[float]:
            return [value + 1 for value in values]

    trainer = SimpleNamespace(should_stop=False)
    StopOnSignals(ALONE).on_step_end(trainer, None)  # type: ignore[arg-type]
    assert not trainer.should_stop
    StopOnSignals(Two()).on_step_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop


def test_ranks_end_with_the_one_that_failed() -> None:
    class Two(Ranks):
        def sum(self, values: Any) -> list[float]:
            return [1.0]

    with pytest.raises(SystemExit) as left, Two().together():
        pass
    assert left.value.code == 1, "2 would say that it was this rank's mistake"
    with pytest.raises(KeyError, match="mine"), Two().together():
        raise KeyError("mine")
    assert ALONE.in_turns(lambda: 7) == 7
    assert ALONE.gather("x") == ["x"]
