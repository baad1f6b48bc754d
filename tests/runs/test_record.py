"""One record for writers and readers: what is written is what was measured, and every committed result survives it."""

from __future__ import annotations

import json
from pathlib import Path

from unimm.runs.record import RESULT, Items, Result, write_result

REPORTS = Path(__file__).parents[2] / "reports"
RESULTS = sorted(REPORTS.rglob(RESULT))


def test_every_committed_result_is_written_as_it_was_read(tmp_path: Path) -> None:
    assert len(RESULTS) > 40
    for path in RESULTS:
        text = path.read_text(encoding="utf-8")
        write_result(Result.model_validate_json(text), tmp_path)
        assert json.loads((tmp_path / RESULT).read_text(encoding="utf-8")) == json.loads(text), path


def test_every_committed_item_is_read() -> None:
    for path in sorted(REPORTS.rglob("items.json")):
        text = path.read_text(encoding="utf-8")
        assert Items.model_validate_json(text).model_dump(mode="json", exclude_unset=True) == json.loads(text), path


def test_a_field_that_this_version_does_not_know_is_kept(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parents[1] / "data" / "result_v1.json").read_text(encoding="utf-8"))
    golden["counts"]["of_tomorrow"] = 3
    result = Result.model_validate(golden)
    write_result(result.model_copy(update={"seed": 4}), tmp_path)
    assert json.loads((tmp_path / RESULT).read_text(encoding="utf-8")) == golden | {"seed": 4}
