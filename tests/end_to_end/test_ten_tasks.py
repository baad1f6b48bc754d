"""The page of ten tasks: every command is one, and those that end by themselves run as they stand, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from unimm.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ten_tasks.md").read_text(encoding="utf-8")


class Task(NamedTuple):
    """A section: its heading, and its fenced blocks as (language, text)."""

    heading: str
    blocks: list[tuple[str, str]]


def tasks() -> list[Task]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        found.append(Task(section.partition("\n")[0], blocks))
    return found


def commands() -> list[str]:
    lines = [line for task in tasks() for _, text in task.blocks for line in text.splitlines()]
    return [line.partition(" |")[0].partition(" >")[0] for line in lines if line.startswith("unimm ")]


def test_there_are_ten_and_each_has_a_command() -> None:
    assert [task.heading.partition(".")[0] for task in tasks()] == [str(number) for number in range(1, 11)]
    assert all(task.blocks for task in tasks())
    assert {language for task in tasks() for language, _ in task.blocks} == {"sh", "console"}


@pytest.mark.parametrize("command", commands())
def test_every_command_has_a_verb_and_options_that_there_are(command: str) -> None:
    words = command.split()[1:]
    verbs = [word for word in words[:2] if word.isidentifier() or word == "check-component"]
    verbs = verbs if verbs[:1] in (["study"], ["data"]) else verbs[:1]
    shown = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output, option


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a clone has, where runs may be written."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("ablations", "reports", "tests", "CITATION.cff"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.slow
def test_what_ends_by_itself_runs(clone: Path) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}
    printed = {}
    for task in tasks():
        script = "\n".join(text for language, text in task.blocks if language == "sh")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{task.heading}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        printed[task.heading.partition(".")[0]] = done.stdout
    assert (clone / "runs" / "mine" / "report.html").is_file() and "report.html" in printed["2"]
    assert (clone / "runs" / "compared" / "compare.html").is_file()
    assert "counting" not in printed["4"] and "a photo of" in printed["4"]
    assert re.search(r"^ok +ceiling", printed["5"], flags=re.MULTILINE)
    assert "24 done" in printed["6"]
    assert "last.ckpt" in printed["9"] and not (clone / "runs" / "mine" / "last.ckpt").exists()
    assert "vae_fm" in printed["7"] and "'pretrained', 'grid'" in printed["7"]
    assert "guidance: float" in printed["8"] and "unimm 0." in printed["10"]
