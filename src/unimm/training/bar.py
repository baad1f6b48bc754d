"""The bar of training: how far it is, how fast, how long still, and whether loss and gradients are as they should be.

It counts samples and begins where a resumed run goes on, so that rate and time left are those of this process: with n
samples of N, of which n_0 were there before, the rate is (n - n_0) / seconds (smoothed) and (N - n) / rate are left.
Lightning's own bar counts micro-batches since the run began against those since it was resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import lightning as L
from tqdm import tqdm

from unimm.progress import interval
from unimm.training.callbacks import StepCallback

if TYPE_CHECKING:
    from unimm.training.module import ArmModule

# 80 columns hold it, up to hours of millions of samples.
FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_noinv_fmt}, {remaining} left{postfix}"


class TrainingBar(StepCallback):
    """One bar on the first rank, in samples; ``batch_size`` is that of all ranks together."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        done, total = (steps * self.batch_size for steps in (trainer.global_step, trainer.max_steps))
        self.bar = tqdm(
            desc="train",
            initial=done,
            total=total,
            unit=" samples",
            unit_scale=True,
            bar_format=FORMAT,
            smoothing=0.1,
            mininterval=interval(),
            dynamic_ncols=True,
            disable=not trainer.is_global_zero,
        )

    def on_step_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.bar is not None
        self.bar.set_postfix_str(_state(cast("ArmModule", pl_module).latest), refresh=False)
        self.bar.update(self.batch_size)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


def _state(latest: dict[str, float]) -> str:
    """Loss and norm of the gradient of the latest step."""
    known = (("loss", "loss", ".3g"), ("grad", "gradient_norm", ".2g"))
    return ", ".join(f"{word} {latest[key]:{digits}}" for word, key, digits in known if key in latest)
