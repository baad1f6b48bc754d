"""A finished run folder, faked from the golden result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unimm.runs.samples import write_sheet

GOLDEN = Path(__file__).parents[1] / "data" / "result_v1.json"
HOSTILE = 'a <script>alert("x")</script> | circle & square'


@pytest.fixture
def golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def run_dir(tmp_path: Path, golden: dict[str, Any]) -> Path:
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(golden))
    (folder / "config.yaml").write_text("arm: clip_flow_joint\nnote: <b>bold</b>\n")
    generator = np.random.default_rng(0)
    lines = []
    for step in range(1, 200):
        noisy = 0.5 + 1.5 * np.exp(-step / 40) + 0.1 * generator.standard_normal()
        understanding = 2.5 * np.exp(-step / 60) if step % 2 else None
        line = {"step": step, "samples": 1280 * step, "seconds": 0.3 * step, "loss": noisy}
        line |= {"generation_loss": noisy, "understanding_loss": understanding, "gradient_norm": 1.0}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    judged = [(HOSTILE, True), ("a red square", False), ("two blue stars", True)]
    rows = [{"prompt": text, "tag": "colors", "correct": correct, "index": 0} for text, correct in judged]
    write_sheet(folder, generator.integers(0, 256, (len(rows), 32, 32, 3), dtype=np.uint8), rows)
    return folder
