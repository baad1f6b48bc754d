"""Training in bfloat16, gradients that are not finite, and a kill after the last checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unimm.arm import assemble, open_source
from unimm.config import load
from unimm.runs.cost import training_flops
from unimm.runs.outcome import prepare
from unimm.training.distributed import autocast
from unimm.training.fit import train
from unimm.training.module import ArmModule

ABLATIONS = Path(__file__).parents[2] / "ablations"
pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SMALL = ["training.snapshots=0", "data.train_scenes=16", "head.width=32", "head.layers=1", "head.heads=2"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIMM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def trained(arm: str, out: Path, *overrides: str, steps: int = 4) -> ArmModule:
    """Four steps at tiny size, as a run trains."""
    settings = [f"training.samples={steps * 8}", "training.batch_size=8", "training.warmup_steps=1", *SMALL, *overrides]
    config = load(ABLATIONS / f"{arm}.yaml", ["profile=tiny", "training.device=cpu", *settings])
    built = assemble(config)
    prepare(config, out, resume=True, overwrite=False)
    return train(config, built, open_source(config, built.foundation), out, CPU)[0]


def last_loss(out: Path) -> float:
    return float(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["loss"])


@pytest.mark.parametrize("arm", ["clip_fm", "vae_mse_joint"])
def test_bfloat16_trains_like_float32(arm: str, tmp_path: Path) -> None:
    coarse = trained(arm, tmp_path / "bf16", "training.precision=bf16")
    trained(arm, tmp_path / "f32", "training.precision=fp32")
    assert last_loss(tmp_path / "bf16") == pytest.approx(last_loss(tmp_path / "f32"), rel=0.03)
    assert last_loss(tmp_path / "bf16") != last_loss(tmp_path / "f32")
    assert {p.dtype for p in coarse.trained_state().values()} == {torch.float32}
    assert autocast(coarse.config, CPU)._enabled
    fine = training_flops(coarse)
    coarse.config = coarse.config.model_copy(update={"precision": "fp32"})
    assert fine == training_flops(coarse), "precision does not change how much is computed"


def test_a_gradient_that_is_not_finite_reaches_no_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is finite in every step; the gradient is not in the last one, after which no loss would tell."""
    healthy = ArmModule.losses

    def losses(self: ArmModule, step: int, number: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        total, parts = healthy(self, step, number)
        if step == 3:
            total.register_hook(lambda gradient: gradient * float("nan"))
        return total, parts

    monkeypatch.setattr(ArmModule, "losses", losses)
    with pytest.raises(ValueError, match=r"a gradient is not finite at step 4; the last checkpoint is kept"):
        trained("clip_fm", tmp_path, "training.checkpoint_every_steps=1")
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all(bool(value.isfinite().all()) for value in kept["state_dict"].values())


def test_a_run_killed_after_its_last_checkpoint_still_gets_its_average(tmp_path: Path) -> None:
    trained("clip_fm", tmp_path)
    weights = tmp_path / "weights.safetensors"
    expected = load_file(weights)
    weights.unlink()
    trained("clip_fm", tmp_path)
    found = load_file(weights)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
