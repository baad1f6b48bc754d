"""Atomic writes: whole content or none, and standard JSON."""

import json
from pathlib import Path

import pytest

from unimm import files


def test_write_atomic_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    files.write_atomic(path, "old")
    files.write_atomic(path, "näw")
    assert path.read_text(encoding="utf-8") == "näw"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    files.write_atomic(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_write_json_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": [float("nan"), 1.5], "y": (float("inf"),)})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"x": [None, 1.5], "y": [None]}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(mark + "näw\r\nline\u2028still\n".encode())
    assert files.read_text(path) == "näw\nline\u2028still\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_text_of_another_encoding_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a cat, ä cat".encode(encoding) if encoding != "utf-16-le" else "a cat".encode(encoding))
    with pytest.raises(ValueError, match=r"a\.txt (is not UTF-8|holds NUL characters).*save it as UTF-8"):
        files.read_text(path)
