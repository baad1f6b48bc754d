"""`unimm report` on committed folders changes no word of their pages: what is committed is what this code writes.

One folder of each kind; pictures are left out, as their bytes depend on the machine's fonts, and so is the commit of
the analysis.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm.cli import app

REPORTS = Path(__file__).parents[2] / "reports"
CODE = re.compile(r"analysed by\W+unimm .*")  # another in a tree with changes, and in one without git
TEXTS = {".md", ".csv", ".tex", ".yaml"}


def texts(folder: Path) -> dict[str, str]:
    files = (f for f in folder.rglob("*") if f.suffix in TEXTS)
    return {str(f.relative_to(folder)): CODE.sub("analysed by", f.read_text()) for f in files}


@pytest.mark.parametrize("name", ["nano/clip-fm", "tuning", "instruction_data"])
def test_a_committed_page_is_written_as_it_is(name: str, tmp_path: Path) -> None:
    shutil.copytree(REPORTS / name, tmp_path / "folder")
    result = CliRunner().invoke(app, ["report", str(tmp_path / "folder")])
    assert result.exit_code == 0, result.output
    found = texts(REPORTS / name)
    assert texts(tmp_path / "folder") == found
    assert any(path.endswith("report.md") for path in found)


def test_a_plan_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[]")
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2 and "plan.json is not a plan that this unimm reads" in result.output
