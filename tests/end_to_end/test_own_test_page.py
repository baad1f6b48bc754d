"""The page of an own test: from labelled pictures, checkpoints and prompts to verdicts, every command as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import check_command, commands, make_clone, sections

PAGE = "own_test.md"


@pytest.mark.parametrize("command", commands(PAGE))
def test_every_command_has_a_verb_and_options_that_there_are(command: str) -> None:
    check_command(command)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_runs_from_pictures_to_verdicts(tmp_path: Path) -> None:
    own = make_clone(tmp_path) / "own"
    printed = {section.number: section.run(tmp_path) for section in sections(PAGE)}
    cards = printed["2"]
    assert "scenes-judge on 60 pictures by labels.jsonl" in cards and ": passes" in cards.partition("open_clip/clip")[0]
    assert "open_clip/clip on 60 pictures" in cards and "fails (" in cards.partition("open_clip/clip on")[2]
    assert "1 of 3 claims can get a verdict" in printed["3"]
    assert "2 done" in printed["4"]
    page = (own / "report" / "report.md").read_text()
    assert "guard judge_card: own CLIP fails its card (" in page and "report.html" in printed["5"]
    assert "supported: The backbone stays as it was." in printed["6"]
    assert "supported: Images fit prompts better by my CLIP." in printed["6"]
    assert "judge_card (a table does not hold the card of own CLIP)" in (own / "theirs" / "report.md").read_text()
