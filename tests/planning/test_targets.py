"""docs/targets.md is what the registry says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"


@pytest.mark.slow
def test_the_committed_table_is_the_generated_one() -> None:
    result = CliRunner().invoke(app, ["list", "targets"])
    assert result.exit_code == 0, result.output
    assert result.stdout == PAGE.read_text(encoding="utf-8")


def test_every_encoder_of_unimm_has_a_row() -> None:
    from unimm.registry import encoders

    own = {name for name in encoders.names() if encoders.get(name).__module__.startswith("unimm.")}
    rows = [line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert set(rows) == own
