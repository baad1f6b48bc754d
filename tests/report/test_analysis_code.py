"""The commit of the analysis: that which last changed it, whether there are changes, and none where there is no git."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

from unimm.report.study.analysis_code import DECIDES, PACKAGE, analysis_code

OWNER = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *OWNER, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, file: str) -> str:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(path.read_text() + "\n" if path.exists() else "")
    git(folder, "add", file)
    git(folder, "commit", "-qm", file)
    return git(folder, "rev-parse", "HEAD")


def said(folder: Path) -> str:
    analysis_code.cache_clear()
    return analysis_code(folder)


def test_the_last_commit_that_changed_the_analysis_is_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    changed = commit(tmp_path, "analysis/claims.py")
    commit(tmp_path, "training/loop.py")
    assert said(tmp_path) == f"unimm {version('unimm')}, commit {changed[:12]}"
    (tmp_path / "training/loop.py").write_text("other")
    assert said(tmp_path).endswith(changed[:12]), "no part of the analysis"
    (tmp_path / "analysis/claims.py").write_text("other")
    assert said(tmp_path).endswith(", and changes that are in no commit")


def test_an_installed_package_says_its_version(tmp_path: Path) -> None:
    installed = f"unimm {version('unimm')}"
    assert said(tmp_path) == installed
    git(tmp_path, "init", "-q")
    (tmp_path / "venv").mkdir()
    commit(tmp_path, "own.py")
    assert said(tmp_path / "venv") == installed, "a work tree of somebody else's, which does not have these files"


def test_what_is_named_as_the_analysis_is_there() -> None:
    assert all((PACKAGE / path).exists() for path in DECIDES)
