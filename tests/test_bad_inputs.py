"""Every bad input of the table gives its one line and exit code 2, and `docs/errors.md` is the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bad_inputs import CASES, Bad, page
from typer.testing import CliRunner

from unimm.cli import app

LONGEST = 700


def test_there_are_sixty_of_them_and_the_page_lists_them() -> None:
    assert len(CASES) >= 60
    assert (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8") == page()


def pattern(message: str, folder: Path) -> str:
    """The message as a regular expression; paths within the case's folder may stand there with it or without."""
    parts = (re.escape(part.replace("{d}", str(folder))) for part in message.split("…"))
    return "(?:.*/)?" + ".*".join(parts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.area}: {case.what}")
def test_a_bad_input_gives_one_clear_line(case: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, content in case.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if case.make is not None:
        case.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, [word.replace("{d}", str(tmp_path)) for word in case.command])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), "anything else would be a traceback"
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and result.stderr.rstrip().endswith(errors[0]), result.stderr
    assert re.fullmatch(pattern(case.message, tmp_path), errors[0].removeprefix("error: ")), errors[0]
    assert len(errors[0]) < LONGEST
    lost = set(before) - set(tmp_path.rglob("*"))
    assert not lost, "a mistake takes nothing away"
