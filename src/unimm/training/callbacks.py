"""Callbacks: moving average with snapshots, JSON-lines log, checkpoints, and a stop at a loss that is not finite."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from safetensors.torch import save_file
from torch import Tensor

from unimm.devices import peak_memory
from unimm.files import append, read_text, write_atomic, written
from unimm.training.averaging import Averaging
from unimm.training.distributed import ALONE, Ranks
from unimm.training.module import ArmModule, not_finite
from unimm.training.sharding import like, whole
from unimm.training.trackers import Tracker
from unimm.training.validation import ValidationLoss


def snapshot_steps(steps: int, count: int) -> list[int]:
    """``count`` log-spaced step numbers that end at ``steps``, two of them to a doubling."""
    return sorted({max(1, round(steps / 2 ** ((count - 1 - i) / 2))) for i in range(count)})


class StepCallback(L.Callback):
    """Acts once a step, after its last micro-batch."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step_end(trainer, pl_module)

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """``trainer.global_step`` counts the step that has just ended."""


class MovingAverage(StepCallback):
    """Moving average of the trained parameters, as long as ``averaging`` says.

    Saves a snapshot of the average at log-spaced steps, so that learning curves compare finished points. Every rank
    keeps the same average, or its part of it where weights are split; the first one ``writes``.
    """

    def __init__(self, averaging: Averaging, folder: Path, steps: int, count: int, writes: bool = True) -> None:
        self.averaging, self.folder, self.writes = averaging, folder, writes
        self.at = snapshot_steps(steps, count) if count else []
        self.average: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ArmModule)
        trained = {k: v.detach() for k, v in pl_module.trained_state().items()}
        self.average = {k: like(self.average[k], v) if self.average else v.clone() for k, v in trained.items()}

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ArmModule)
        step = trainer.global_step
        current = [p.detach() for p in pl_module.trained_state().values()]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - self.averaging.kept(step))
        if step in self.at:
            self.save(self.folder / f"average-{step:07d}.safetensors")

    def save(self, path: Path) -> None:
        """Write the average as safetensors, atomically; all ranks have to call it."""
        average = {k: whole(v).contiguous().cpu() for k, v in self.average.items()}
        if self.writes:
            with written(path) as temporary:
                save_file(average, temporary)

    def state_dict(self) -> dict[str, Any]:
        return {"average": {k: whole(v) for k, v in self.average.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = {k: v.clone() for k, v in state_dict["average"].items()}


class JsonLines(StepCallback):
    """Append-only ``metrics.jsonl``, written by the first rank; a resumed run first drops rows past its checkpoint.

    ``trackers`` hold the same rows; the ``validation`` loss joins the row of its step. Neither counts as training time.
    """

    def __init__(
        self,
        path: Path,
        batch_size: int,
        every: int = 10,
        writes: bool = True,
        trackers: Sequence[Tracker] = (),
        validation: ValidationLoss | None = None,
    ) -> None:
        self.path, self.batch_size, self.every, self.writes = path, batch_size, every, writes
        self.trackers, self.validation = trackers if writes else (), validation
        self.seconds = 0.0
        self.waited = 0.0
        self.peak_memory = 0
        self._last = self._fetch = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        kept: list[str] = []
        if self.writes and self.path.exists():
            kept = [line for line in read_text(self.path).splitlines() if _step_of(line) <= trainer.global_step]
            write_atomic(self.path, "".join(f"{line}\n" for line in kept))
        for tracker in self.trackers:
            tracker.begin([json.loads(line) for line in kept])
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
        self._last = self._fetch = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.peak_memory = max(self.peak_memory, peak_memory(trainer.strategy.root_device))
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        for tracker in self.trackers:
            tracker.end()

    def on_train_batch_start(self, *args: Any) -> None:
        self.waited += time.monotonic() - self._fetch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._fetch = time.monotonic()

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ArmModule)
        self.seconds += time.monotonic() - self._last
        step = trainer.global_step
        held_out = {} if self.validation is None else self.validation.at(step, pl_module)  # on every rank
        if self.writes and (held_out or step % self.every == 0 or step == trainer.max_steps):
            samples = step * self.batch_size
            self._add(
                {"step": step, "samples": samples, "seconds": round(self.seconds, 3)} | pl_module.latest | held_out
            )
        self._last = time.monotonic()

    def _add(self, row: dict[str, Any]) -> None:
        append(self.path, json.dumps(row) + "\n")
        for tracker in self.trackers:
            tracker.add(row)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "waited": self.waited, "peak_memory": self.peak_memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.waited = state_dict["seconds"], state_dict["waited"]
        self.peak_memory = state_dict.get("peak_memory", 0)  # 0: a checkpoint of an older version


def _step_of(line: str) -> float:
    """The step of a log row; a row that a kill cut short counts as past every checkpoint."""
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return math.inf


class Checkpoint(StepCallback):
    """One fixed file ``last.ckpt``, replaced atomically every so many steps, at a signal and at the end."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step % self.every == 0 or trainer.should_stop:
            self.write(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.write(trainer)

    def write(self, trainer: L.Trainer) -> None:
        """Save the whole training state."""
        # Only the first rank writes; all of them gather what is split over them.
        with written(self.path) if trainer.is_global_zero else nullcontext(self.path) as path:
            trainer.save_checkpoint(path, weights_only=False)


class StopOnSignals(StepCallback):
    """SIGINT and SIGTERM, to any rank, end training after the current step on all of them, with a checkpoint.

    Installed when training starts, after Lightning's own handlers, which would end the process without one.
    """

    def __init__(self, world: Ranks = ALONE) -> None:
        self.world, self.wanted = world, False
        self.previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self.wanted = True

        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, stop)

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        (wanted,) = self.world.sum([self.wanted])
        if wanted:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


class FiniteLoss(L.Callback):
    """Stops before a loss that is not finite on any rank reaches the parameters; the last checkpoint stays good."""

    def __init__(self, world: Ranks = ALONE) -> None:
        self.world = world

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        (total,) = self.world.sum([float(loss.detach())])
        if not math.isfinite(total):
            raise ValueError(not_finite("the loss", trainer.global_step + 1))
