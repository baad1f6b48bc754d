"""The page of a tuning says which values tied and which differences are smaller than their error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from unimm.report.study import tuning
from unimm.report.study.told_apart import lost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A copy of the committed tuning, whose trials took no errors and offered three averages that are the same."""
    return Path(shutil.copytree(ROOT / "reports/tuning", tmp_path / "tuning"))


def rows(page: str) -> dict[str, list[str]]:
    """The cells of the table of what could be told apart, by arm."""
    table = page.partition("## What the looks could tell apart")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


def test_the_committed_tuning_of_the_average_was_void(committed: Path) -> None:
    before = (committed / "tuned.yaml").read_bytes()
    tuning.write(committed)
    page = (committed / "report.md").read_text()
    found = rows(page)
    assert found["arm"] == ["training.ema_decay", "objective.guidance"]
    assert found["all arms"] == ["128 of 128 equal", "0 of 96 equal"]
    assert found["clip_mse"] == ["16 of 16 equal", "-"]
    assert page.count("0.999 (first of 3 equal)") == 8
    assert "took no such errors, so that only ties are known" in page
    assert (committed / "tuned.yaml").read_bytes() == before


def test_differences_below_their_error_are_not_resolved(committed: Path) -> None:
    """Guidance 5 won trial 5 of clip_fm by 0.011, 0.012 and 0.046 over 3, 1.5 and 2."""
    for path in (committed / "trials").glob("*/*/trial.json"):
        record = json.loads(path.read_text())
        for evaluation in record["evaluations"]:
            evaluation |= {"stderr": 0.03, "behind_stderr": 0.03}
        path.write_text(json.dumps(record))
    trial = tuning.read(committed).arms["clip_fm"].records[5]
    others = [other for other in lost(trial) if other.key == "objective.guidance"]
    close = {other.evaluation.settings["objective.guidance"]: other.is_unresolved for other in others}
    assert close == {3.0: True, 1.5: True, 2.0: False}
    tuning.write(committed)
    page = (committed / "report.md").read_text()
    (clip,) = [line for line in page.splitlines() if line.startswith("| clip_fm |") and "0.452" in line]
    assert "| +0.150 ± 0.042 |" in clip and "5 (not resolved)" in clip
    (joint,) = [line for line in page.splitlines() if line.startswith("| vae_fm_joint |") and "0.504" in line]
    assert "± 0.042 (not resolved) |" in joint
    assert "not resolved" in rows(page)["all arms"][1] and "only ties" not in page
