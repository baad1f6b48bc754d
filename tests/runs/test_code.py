"""Which code computes: a clean tree's, a dirty one's, one that pip installed, a plug-in's; old results still read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PathDistribution, version
from pathlib import Path
from typing import Any

import pytest

from unimm.config import load
from unimm.runs import code
from unimm.runs.code import Code, code_for, code_of, files_hash, versions
from unimm.runs.record import Result

ROOT = Path(__file__).parents[2]
OWNER = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *OWNER, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package on the path, `my_parts`, in no work tree."""
    folder = tmp_path / "tree" / "my_parts"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("SIZE = 1\n")
    monkeypatch.syspath_prepend(folder.parent)
    code_of.cache_clear()
    yield folder
    code_of.cache_clear()
    sys.modules.pop("my_parts", None)


def found() -> Code:
    code_of.cache_clear()
    return code_of("my_parts")


def test_a_clean_tree_has_its_commit_and_a_dirty_one_says_so(package: Path) -> None:
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "one")
    clean = found()
    assert clean == Code(files=files_hash(package), commit=git(package, "rev-parse", "HEAD"), dirty=False)
    (package.parent / "notes.txt").write_text("beside the package")
    assert found() == clean
    (package / "__init__.py").write_text("SIZE = 2\n")
    dirty = found()
    assert dirty.dirty and dirty.commit == clean.commit and dirty.files != clean.files
    assert str(dirty).endswith(f"commit {clean.commit[:12]} with changes (files {dirty.files})")
    git(package, "checkout", "-q", ".")
    (package / "more.py").write_text("")
    assert found().dirty, "a file that is in no commit"


def test_a_package_inside_of_somebody_elses_work_tree_has_no_commit(package: Path) -> None:
    git(package.parents[1], "init", "-q")
    (package.parents[1] / ".gitignore").write_text("tree\n")
    git(package.parents[1], "add", ".gitignore")
    git(package.parents[1], "commit", "-qm", "own")
    assert found() == Code(files=files_hash(package))


def test_what_pip_installed_from_a_repository_has_the_commit_of_that(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip leaves it: a record beside the package that names the commit (PEP 610)."""
    info = package.parent / "my_parts-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_parts\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("my_parts\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "u", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}))
    assert found() == Code(files=files_hash(package), version="1.2", commit="c0ffee")
    elsewhere = PathDistribution(shutil.copytree(info, package.parents[1] / "site" / info.name))
    monkeypatch.setattr(code, "_distribution", lambda name: elsewhere)
    assert found() == Code(files=files_hash(package), version="1.2"), "these are not the files that it installed"


def test_the_hash_is_of_names_and_contents_of_sources_alone(package: Path) -> None:
    before = files_hash(package)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_text("x")
    (package / "page.html").write_text("x")
    assert files_hash(package) == before
    (package / "__init__.py").rename(package / "other.py")
    assert files_hash(package) != before
    alone = shutil.copy(package / "other.py", package.parents[1])
    assert files_hash(Path(alone)) == files_hash(package / "other.py"), "a module of one file"


def test_a_runs_code_is_unimms_and_that_of_every_plug_in(package: Path) -> None:
    (package / "__init__.py").write_text("from unimm.encoders.vae import Vae\n\n\nclass Mine(Vae):\n    pass\n")
    own = load(ROOT / "ablations" / "vae_mse.yaml", ["profile=tiny"])
    assert list(code_for(own.model_dump(mode="json"))) == ["unimm"]
    config = load(ROOT / "ablations" / "vae_mse.yaml", ["profile=tiny", "encoder=my_parts:Mine"])
    made = code_for(config.model_dump(mode="json"))
    assert list(made) == ["unimm", "my_parts"]
    assert made["unimm"].version == version("unimm") and made["my_parts"].files == files_hash(package)
    assert {"torch", "numpy", "torchmetrics", "python"} <= versions().keys()


def test_old_results_have_no_code_and_still_read() -> None:
    golden: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "result_v1.json").read_text())
    old = Result.model_validate(golden)
    assert old.code == {} and old.scored_by == {}
    told = {"unimm": {"files": "ab", "version": "0.1.0", "commit": None, "dirty": None}}
    assert Result.model_validate(golden | {"code": told}).code["unimm"] == Code(files="ab", version="0.1.0")
