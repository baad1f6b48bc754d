"""Lines and bars: none for a single thing, none that stay, none on stdout."""

from __future__ import annotations

import pytest

from unimm import progress


def test_one_item_and_quick_work_show_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.progress(["a"], "sampling", "batch")) == ["a"]
    assert list(progress.progress(range(50), "sampling", "batch")) == list(range(50))
    with progress.counting(3, "encoding", "image") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_slow_work_shows_one_on_stderr_which_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0)
    list(progress.progress(range(2), "sampling", "batch"))
    shown = capsys.readouterr()
    assert "sampling" in shown.err and shown.err.rstrip(" ").endswith("\r") and shown.out == ""


def test_what_is_said_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("loading")
    assert capsys.readouterr() == ("", "loading\n")
