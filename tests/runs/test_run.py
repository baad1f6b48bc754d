"""The one place that loads trained weights: exactly what the strategy trains, on top of what the run started from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unimm.components import Decoder
from unimm.config import load
from unimm.files import START, WEIGHTS
from unimm.noise import NoiseSource
from unimm.runs import job
from unimm.runs.run import Run, hand_over

ABLATIONS = Path(__file__).parents[2] / "ablations"
CPU = torch.device("cpu")


class Bytes(Decoder):
    """Draws images of 0 to 255, as some libraries do."""

    def __init__(self, side: int = 64, value: float = 128.0) -> None:
        super().__init__()
        self.side, self.value = side, value

    def decode(self, latents: torch.Tensor, noise: NoiseSource, keys: Sequence[str]) -> torch.Tensor:
        return torch.full((len(latents), 3, self.side, self.side), self.value)


def run_of(arm: str, folder: Path) -> Run:
    """A run of that arm whose final average is every trained parameter plus one."""
    run = Run(load(ABLATIONS / f"{arm}.yaml", ["profile=tiny"]), folder, CPU)
    parts = {"backbone": run.arm.backbone, "head": run.arm.head}
    values = {f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()}
    folder.mkdir(parents=True)
    save_file({name: (values[name] + 1).detach().contiguous() for name in run.trained()}, folder / WEIGHTS)
    return run


def test_a_frozen_backbone_is_not_among_what_is_trained(tmp_path: Path) -> None:
    frozen, joint = (run_of(arm, tmp_path / arm) for arm in ("clip_mse", "clip_mse_joint"))
    assert {name for name in frozen.trained() if name.startswith("backbone.")} == {"backbone.queries"}
    assert frozen.trained() < joint.trained()
    assert any(name.startswith("backbone.model.") for name in joint.trained())


def test_the_arm_is_assembled_once_and_gets_the_averaged_weights(tmp_path: Path) -> None:
    run = run_of("clip_mse", tmp_path / "run")
    fresh = run.arm.backbone.queries.detach().clone()
    again = Run(run.config, run.folder, CPU)
    again.check()
    arm = again.weights()
    assert arm is again.arm and not arm.head.training and not any(p.is_inference() for p in arm.head.parameters())
    assert torch.equal(arm.backbone.queries, fresh + 1)


def test_an_average_that_lacks_or_adds_a_parameter_is_refused(tmp_path: Path) -> None:
    run = run_of("clip_mse", tmp_path / "run")
    weights = load_file(run.folder / WEIGHTS)
    save_file({name: value for name, value in weights.items() if name != "backbone.queries"}, run.folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"weights.safetensors lacks backbone.queries, which this arm trains"):
        run.weights()
    save_file(weights | {"head.of_another": torch.zeros(1)}, run.folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"weights.safetensors holds of_another, which this arm's head does not have"):
        run.weights()
    (run.folder / WEIGHTS).write_bytes((run.folder / WEIGHTS).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"weights.safetensors is truncated or altered"):
        run.weights()


def test_what_an_earlier_stage_trained_goes_in_first(tmp_path: Path) -> None:
    """The joint stage trained the backbone; the sequential one after it leaves the backbone out of its own average."""
    first, later = run_of("clip_mse_joint", tmp_path / "first"), run_of("clip_mse", tmp_path / "later")
    hand_over(first.folder, later.folder)
    start = load_file(later.folder / START)
    assert set(start) == first.trained()
    name = next(name for name in sorted(start) if name.startswith("backbone.model."))
    arm = later.weights()
    assert torch.equal(arm.backbone.state_dict()[name.removeprefix("backbone.")], start[name])
    assert torch.equal(arm.backbone.queries, load_file(later.folder / WEIGHTS)["backbone.queries"])


def test_a_metric_or_a_decoder_that_cannot_score_ends_a_run_before_it_leaves_anything(tmp_path: Path) -> None:
    """Both are needed after training only, which would have been for nothing."""
    config = load(ABLATIONS / "clip_mse.yaml", ["profile=tiny", "evaluation.metrics=[geneval,no_such_package:Metric]"])
    with pytest.raises(ValueError, match="metrics: cannot load 'no_such_package:Metric'"):
        job.run(config, tmp_path / "run")
    run = Run(load(ABLATIONS / "clip_mse.yaml", ["profile=tiny"]), tmp_path / "run", CPU)
    run.check()
    run.arm.decoder = Bytes()
    with pytest.raises(ValueError, match=r"Bytes.decode gives values from 128 to 128: images are in \[0, 1\]"):
        run.check()
    run.arm.decoder = Bytes(side=16, value=0.5)
    with pytest.raises(ValueError, match="returns images of 16 pixels a side, and the run's have 64"):
        run.check()
    assert not (tmp_path / "run").exists()
