"""The page of ten tasks: every command is one, and those that end by themselves run as they stand, in one folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_pages import check_command, commands, make_clone, sections

PAGE = "ten_tasks.md"


def test_there_are_ten_and_each_has_a_command() -> None:
    assert [task.number for task in sections(PAGE)] == [str(number) for number in range(1, 11)]
    assert all(task.blocks for task in sections(PAGE))
    assert {language for task in sections(PAGE) for language, _ in task.blocks} == {"sh", "console"}


@pytest.mark.parametrize("command", commands(PAGE))
def test_every_command_has_a_verb_and_options_that_there_are(command: str) -> None:
    check_command(command)


@pytest.mark.slow
def test_what_ends_by_itself_runs(tmp_path: Path) -> None:
    clone = make_clone(tmp_path)
    printed = {task.number: task.run(clone) for task in sections(PAGE)}
    assert (clone / "runs" / "mine" / "report.html").is_file() and "report.html" in printed["2"]
    assert (clone / "runs" / "compared" / "compare.html").is_file()
    assert "counting" not in printed["4"] and "a photo of" in printed["4"]
    assert re.search(r"^ok +ceiling", printed["5"], flags=re.MULTILINE)
    assert "24 done" in printed["6"]
    assert "last.ckpt" in printed["9"] and not (clone / "runs" / "mine" / "last.ckpt").exists()
    assert "vae_fm" in printed["7"] and "'pretrained', 'grid'" in printed["7"]
    assert "guidance: float" in printed["8"] and "unimm 0." in printed["10"]
