"""A study with two judges: every verdict by either, and whether they agree."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import write_study

from unimm.report.study import page

OTHER = "geneval[other]"
PASSING = {"true": 40, "accepted": 40, "false": 40, "found": 0}


def add_judge(folder: Path, wrong: bool, card: dict[str, Any] | None) -> None:
    """A second judge that says what the first does, or the reverse of it."""
    for path in folder.glob("runs/*/*/result.json"):
        result, items = json.loads(path.read_text()), json.loads((path.parent / "items.json").read_text())
        for score in [s for s in result["scores"] if s["name"].startswith("geneval/")]:
            value = 1 - score["value"] if wrong else score["value"]
            name = score["name"].replace("geneval", OTHER)
            parts = [part.replace("geneval", OTHER) for part in score["protocol"].get("mean of", [])]
            result["scores"].append(
                {**score, "name": name, "value": value, "protocol": {"mean of": parts} if parts else {}}
            )
        for kind in ("floors", "ceilings"):
            for table in result[kind].values():
                table |= {name.replace("geneval", OTHER): v for name, v in table.items() if name.startswith("geneval/")}
        for name, values in list(items["scores"].items()):
            if name.startswith("geneval/"):
                turned = [None if v is None else (1 - v if wrong else v) for v in values]
                items["scores"][name.replace("geneval", OTHER)] = turned
        if card is not None:
            result["judge_cards"] = {"other": {"source": "by hand", "pictures": 9, "kinds": {"object": card}}}
        path.write_text(json.dumps(result))
        (path.parent / "items.json").write_text(json.dumps(items))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study")


def test_judges_that_say_the_same_agree_on_every_verdict(study: Path) -> None:
    add_judge(study, wrong=False, card=PASSING)
    report = page.build(study)
    table = report.tables["judges"]
    assert table.headers == ("claim", "scenes", "other", "do they agree?")
    assert table.rows and all(row[1] == row[2] and row[-1] == "yes" for row in table.rows)
    assert f"The judges agree on {len(table.rows)} of {len(table.rows)} verdicts." in table.note
    assert "Krippendorff's alpha 1.000" in table.note


def test_a_judge_that_says_the_reverse_turns_verdicts(study: Path) -> None:
    add_judge(study, wrong=True, card=PASSING)
    table = page.build(study).tables["judges"]
    turned = {row[0]: row[1:3] for row in table.rows if row[-1] == "no"}
    assert ("supported", "contradicted") in turned.values() or ("contradicted", "supported") in turned.values()


@pytest.mark.parametrize("card", [None, {"true": 40, "accepted": 20, "false": 40, "found": 20}])
def test_a_judge_without_a_passed_card_has_no_verdicts(study: Path, card: dict[str, Any] | None) -> None:
    add_judge(study, wrong=False, card=card)
    table = page.build(study).tables["judges"]
    assert {row[2] for row in table.rows} == {"untestable"}


def test_a_study_with_one_judge_has_no_such_table(study: Path) -> None:
    assert "judges" not in page.build(study).tables
