"""Arms of one objective or strategy each: their files, two steps of training, samples, an export, a plan of costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.arm import assemble
from unimm.config import load
from unimm.export.parts import read_parts, write_parts
from unimm.noise import NoiseSource
from unimm.planning.outline import outline
from unimm.planning.work import cost
from unimm.training.module import ArmModule
from unimm.training.step_data import step_data

ABLATIONS = Path(__file__).parents[1] / "ablations"
FILES = sorted([*ABLATIONS.glob("objectives/*.yaml"), *ABLATIONS.glob("strategies/*.yaml")])
SMALL = ["profile=tiny", "data.train_scenes=16", "training.batch_size=4"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_arm_s_file_says_question_cost_and_result(path: Path) -> None:
    header = path.read_text(encoding="utf-8").partition("\ndefaults:")[0]
    assert header.startswith("# Cost: ") and "Measured result: " in header
    config = load(path)
    assert config.name == path.stem and config.question.endswith("?")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_arm_trains_two_steps_samples_and_is_exported_and_planned(
    path: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(cache))
    if path.stem.endswith("_lora"):
        pytest.importorskip("peft")
    config = load(path, SMALL)
    arm = assemble(config)
    data = step_data(config, arm, torch.device("cpu"))
    module = ArmModule(arm.backbone, arm.head, arm.objective, arm.strategy.mix(), config.training, data)
    trained = [p for p in module.parameters() if p.requires_grad]
    before, optimiser = [p.detach().clone() for p in trained], torch.optim.AdamW(trained, lr=1e-3)
    for step in range(2):
        loss, _ = module.losses(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(p, old) for p, old in zip(arm.head.parameters(), before, strict=False))
    asked: Any = (["a red circle", "two blue squares"], ["0", "1"], NoiseSource(0, "test"))
    images = arm.pipeline()(*asked)
    assert images.shape == (2, 3, 64, 64)
    write_parts(arm.pipeline(), config, tmp_path)
    away = read_parts(tmp_path)(*asked).int() - images.int()
    assert int(away.abs().max()) <= 1, "an export draws the same"
    work, kept = cost(outline(config))
    assert work.head > 0 and kept.head > 0
