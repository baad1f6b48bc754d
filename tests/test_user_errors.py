"""How errors end a verb: one line of its own, a code that says whether to try again, no word to a closed pipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from tqdm import tqdm

from unimm.user_errors import MACHINE, MISTAKE, user_errors


def test_a_machine_without_the_memory_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stop, user_errors():
        raise MemoryError("Unable to allocate 224. GiB")
    assert stop.value.exit_code == MACHINE
    assert capsys.readouterr().err.startswith("error: not enough memory (Unable to allocate 224. GiB): ")


def test_the_message_does_not_stand_behind_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bar = tqdm(range(2), desc="reading")
    with pytest.raises(typer.Exit), user_errors():
        raise FileNotFoundError("no such file")
    assert bar.disable, "closed"
    assert capsys.readouterr().err.endswith("\nerror: no such file\n")


def test_a_reader_that_has_seen_enough_gets_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError), user_errors():
        raise BrokenPipeError("| head")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "config.yaml"])
def test_a_file_in_a_folders_place_is_named(below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(typer.Exit) as stop, user_errors():
        list((tmp_path / "taken" / below).iterdir())
    assert stop.value.exit_code == MISTAKE
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}/taken is a file, and a folder is needed there: give another path\n"
    )


def test_a_folder_in_a_files_place_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), user_errors():
        tmp_path.write_text("")
    assert capsys.readouterr().err == f"error: {tmp_path} is a folder, and a file is needed there: give another path\n"
