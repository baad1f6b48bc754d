"""The first losses of every arm, as they were when they were last looked at: a change that moves them must say why.

Written by ``python tests/training/test_golden_losses.py CACHE_FOLDER``; the tolerance is what other CPUs and thread
counts need.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from unimm.arm import assemble
from unimm.config import load
from unimm.training.module import ArmModule
from unimm.training.step_data import step_data

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden_losses.json"
ARMS = sorted(path.stem for path in (ROOT / "ablations").glob("*.yaml"))
STEPS = 4
pytestmark = pytest.mark.slow


def first_losses(arm: str) -> list[float]:
    """Losses of the first steps at tiny size, each step trained on."""
    config = load(ROOT / "ablations" / f"{arm}.yaml", ["profile=tiny", "training.learning_rate=1e-3"])
    built, device = assemble(config), torch.device("cpu")
    data = step_data(config, built, device)
    mix = built.strategy.mix()
    module = ArmModule(built.backbone, built.head, built.objective, mix, config.training, data)
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(STEPS):
        loss, _ = module.losses(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(round(float(loss.detach()), 5))
    return losses


@pytest.mark.parametrize("arm", ARMS)
def test_first_losses_are_golden(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    assert first_losses(arm) == pytest.approx(json.loads(GOLDEN.read_text())[arm], rel=2e-3)


if __name__ == "__main__":
    os.environ["UNIMM_CACHE"] = sys.argv[1]
    GOLDEN.write_text(json.dumps({arm: first_losses(arm) for arm in ARMS}, indent=1) + "\n")
