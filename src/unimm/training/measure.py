"""Everything about a trained run that takes sampling: scores, retention, learning curve, and what scores cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unimm.schema import RunConfig
from unimm.training.assemble import Arm
from unimm.training.curve import learning_curve
from unimm.training.efficiency import completed
from unimm.training.module import ArmModule
from unimm.training.outcome import save_grid, save_items
from unimm.training.probe import Probe, retained
from unimm.training.scoring import score_arm


class Earlier(NamedTuple):
    """What was found before scoring: the backbone as it was before training, and ``efficiency`` so far."""

    before: Probe | None
    spent: Mapping[str, Any]


def measure(
    config: RunConfig, arm: Arm, module: ArmModule, earlier: Earlier, out: Path, device: torch.device
) -> dict[str, Any]:
    """Sample and score the trained arm and its snapshots; writes the sample grid and every item's score."""
    scored = score_arm(config, arm, device)
    save_grid(scored, out)
    save_items(scored, out)
    curve = learning_curve(config, arm, module, out, device)
    return {
        **scored.as_result(),
        "retention": retained(arm, earlier.before, scored.answers),
        "curve": curve,
        "efficiency": completed(earlier.spent, scored.seconds_per_image, curve, out / "metrics.jsonl"),
    }
