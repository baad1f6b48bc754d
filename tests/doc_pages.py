"""Pages of `docs/` whose commands run: their sections, blocks and commands, and a folder to run them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from unimm.cli import app

ROOT = Path(__file__).parents[1]
GROUPS = (["study"], ["data"])


class Section(NamedTuple):
    """A section: its number, its heading, and its fenced blocks as (language, text)."""

    number: str
    heading: str
    blocks: list[tuple[str, str]]

    def run(self, folder: Path) -> str:
        """What its `sh` blocks print, run in order by one shell in a folder."""
        script = "\n".join(text for language, text in self.blocks if language == "sh")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "TERM": "dumb"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{self.heading}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout


def sections(name: str) -> list[Section]:
    """The numbered sections of a page."""
    found = []
    for section in (ROOT / "docs" / name).read_text(encoding="utf-8").split("\n## ")[1:]:
        number, _, heading = section.partition("\n")[0].partition(". ")
        found.append(Section(number, heading, re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)))
    return found


def commands(name: str) -> list[str]:
    """Every command of a page, without what it is piped into."""
    lines = [line for section in sections(name) for _, text in section.blocks for line in text.splitlines()]
    return [line.partition(" |")[0].partition(" >")[0] for line in lines if line.startswith("unimm ")]


def check_command(command: str) -> None:
    """Assert that a command has a verb and options that there are."""
    words = command.split()[1:]
    verbs = [word for word in words[:2] if word.isidentifier() or word == "check-component"]
    verbs = verbs if verbs[:1] in GROUPS else verbs[:1]
    shown = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output, option


def make_clone(folder: Path) -> Path:
    """Give a folder what a clone has, where runs may be written."""
    for name in ("ablations", "reports", "tests", "CITATION.cff"):
        (folder / name).symlink_to(ROOT / name)
    return folder
