"""Plans say which code froze them; `unimm study amend` takes up amendments without a run and says what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from unimm.cli import app
from unimm.runs.code import code_of
from unimm.runs.planned import plan_hash
from unimm.study.amend import changes
from unimm.study.plan import StudyPlan, has_plan, read_plan

ABLATIONS = Path(__file__).parents[2] / "ablations"
CLAIM = {"id": "c", "text": "It holds.", "kind": "invariant", "holds": {"backbone_unchanged": ["vae_mse"]}}
MORE = {"date": "2026-12-01", "reason": "wide intervals", "seeds": [3]}


def write_study(folder: Path, **changes: Any) -> Path:
    (folder / "claims.yaml").write_text(yaml.safe_dump({"alpha": 0.05, "claims": [CLAIM]}))
    arms = [str(ABLATIONS / "vae_mse.yaml")]
    content = {"question": "Which?", "profile": "tiny", "seeds": 3, "arms": arms, "claims": "claims.yaml", **changes}
    (folder / "one.yaml").write_text(yaml.safe_dump(content))
    return folder / "one.yaml"


def amend(file: Path, folder: Path) -> list[str]:
    options = ["--out", str(folder), "--collect", str(folder / "kept")]
    told = CliRunner().invoke(app, ["study", "amend", str(file), *options])
    assert told.exit_code == 0, told.output
    return told.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study that was planned by other code than the present one."""
    from unimm.study.launch import freeze_study

    freeze_study(write_study(tmp_path), tmp_path / "study")
    path = tmp_path / "study" / "plan.json"
    content = json.loads(path.read_text())
    content["code"]["plan"]["unimm"] |= {"files": "0123456789abcdef", "commit": "a" * 40, "dirty": True}
    path.write_text(json.dumps(content | {"hash": plan_hash(content)}))
    return tmp_path / "study"


def test_amendments_are_taken_up_and_said_with_the_code(folder: Path, tmp_path: Path) -> None:
    before = read_plan(folder)
    assert isinstance(before, StudyPlan)
    file = write_study(tmp_path, amendments=[MORE])
    first, second, third, code = amend(file, folder)
    now = code_of("unimm")
    assert first == "2026-12-01: added seed 3 (wide intervals)" and second.startswith("1 more runs, 4 in all; plan ")
    assert third == "claims that they touch are no longer fixed beforehand, which the report says"
    was = "aaaaaaaaaaaa with changes (files 0123456789abcdef)"
    assert code.startswith(f"code: unimm is {now}, and was ") and code.endswith(f"{was} at the plan")
    after = read_plan(folder)
    assert isinstance(after, StudyPlan) and after.seeds == [0, 1, 2, 3]
    assert after.code["plan"] == before.code["plan"]
    assert after.code["amendment 1"]["unimm"] == now.model_dump(mode="json")
    nothing, code = amend(file, folder)
    assert nothing == "nothing new: the plan has 1 amendments, and the file no others"
    assert code == f"code: unimm is that of amendment 1, {now}"
    assert read_plan(folder) == after


def test_a_plan_of_before_does_not_say_its_code_and_stays_as_it_is(folder: Path) -> None:
    content = json.loads((folder / "plan.json").read_text())
    del content["code"]
    (folder / "plan.json").write_text(json.dumps(content | {"hash": plan_hash(content)}))
    old = read_plan(folder)
    assert isinstance(old, StudyPlan) and "code" not in old.content()
    assert changes(old, old, {})[-1] == "code: the plan does not say what froze it"


def test_what_was_never_planned_cannot_be_amended(tmp_path: Path) -> None:
    file, folder = write_study(tmp_path), tmp_path / "new"
    told = CliRunner().invoke(app, ["study", "amend", str(file), "--out", str(folder), "--collect", str(folder)])
    assert told.exit_code == 2 and "holds no study" in told.stderr and not has_plan(folder)
