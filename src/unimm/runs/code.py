"""Which code computes something: what git and the files themselves say of unimm and of every plug-in package.

A number is worth as much as the code behind it can be found again. Said of a package are its version, the commit of the
work tree that it lies in (or that it was installed from, PEP 610), whether its files are as committed, and a hash of
them: SHA-256 over the names and contents of its source files, cut to 16 digits. The hash alone tells two states apart;
commit and flag say where to look for one. A package that is installed into somebody else's work tree has no commit.

It is read when a run begins: whoever edits a file meanwhile does not change what was loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from unimm.registry import Registry, metrics
from unimm.schema import COMPONENTS

UNIMM = "unimm"
SOURCES = (".py", ".yaml", ".csv", ".so")
# What computes numbers, by the name of its distribution.
LIBRARIES = (
    *("torch", "lightning", "transformers", "diffusers", "unimm"),
    *("torchvision", "open_clip_torch", "torchmetrics", "clean-fid", "numpy", "scipy", "safetensors"),
)


class Code(BaseModel):
    """A package's code; ``dirty``: its files are not as committed. Null where nobody knows."""

    model_config = ConfigDict(extra="allow", frozen=True)

    files: str
    version: str | None = None
    commit: str | None = None
    dirty: bool | None = None

    def __str__(self) -> str:
        known = [self.version or "no version"]
        if self.commit:
            known.append(f"commit {self.commit[:12]}{' with changes' if self.dirty else ''}")
        return f"{', '.join(known)} (files {self.files})"


def versions() -> dict[str, str]:
    """Python's version and those of the libraries."""
    return {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}


def code_for(config: Mapping[str, Any]) -> dict[str, Code]:
    """The code of unimm and of every package that a resolved configuration takes a component or a metric from."""
    return {name: code_of(name) for name in (UNIMM, *sorted(_plug_ins(config)))}


@cache
def code_of(package: str) -> Code:
    """The code of an importable top-level package or module, as it lies there when first asked for."""
    place = _place(package)
    installed = _distribution(package)
    name = None if installed is None else installed.version
    commit = git(_folder(place), "rev-parse", "HEAD") if _is_tracked(place) else ""
    if commit:
        dirty = bool(git(_folder(place), "status", "--porcelain", "--", place.name if place.is_file() else "."))
        return Code(files=files_hash(place), version=name, commit=commit, dirty=dirty)
    return Code(files=files_hash(place), version=name, commit=_installed_from(installed, place))


def files_hash(place: Path) -> str:
    """Hash of the source files of a package's folder, or of a module's file."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.suffix in SOURCES)
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(_folder(place)).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder; nothing without git, or where it refuses."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _plug_ins(config: Mapping[str, Any]) -> set[str]:
    """Top-level packages other than unimm of the classes that a configuration names."""
    modules = {registry.get(name).__module__.partition(".")[0] for registry, name in _chosen(config)}
    return modules - {UNIMM}


def _chosen(config: Mapping[str, Any]) -> Iterator[tuple[Registry[Any], str]]:
    """Every component's registry and name, those of stages and metrics included."""
    for part in (config, *(config.get("stages") or {}).values()):
        for kind, registry in COMPONENTS.items():
            if part.get(kind):
                yield registry, part[kind]["name"]
    for metric in config["evaluation"]["metrics"]:
        yield metrics, metric if isinstance(metric, str) else metric["name"]


def _place(package: str) -> Path:
    """The folder of a package, or the file of a module."""
    module = sys.modules.get(package) or importlib.import_module(package)
    if module.__file__ is not None:
        file = Path(module.__file__).resolve()
        return file.parent if file.name == "__init__.py" else file
    return Path(next(iter(module.__path__))).resolve()  # a namespace package


def _folder(place: Path) -> Path:
    return place.parent if place.is_file() else place


def _is_tracked(place: Path) -> bool:
    """Whether git has this package: one that is installed below a work tree is none of that tree's files."""
    return bool(git(_folder(place), "ls-files", "--", place.name if place.is_file() else "."))


def _distribution(package: str) -> Distribution | None:
    """What the package was installed as, editable or not; None for one that only lies on the path."""
    name = package if package == UNIMM else next(iter(packages_distributions().get(package, ())), None)
    try:
        return None if name is None else distribution(name)
    except PackageNotFoundError:
        return None


def _installed_from(installed: Distribution | None, place: Path) -> str | None:
    """The commit that pip installed from a repository, if these are the files that it installed."""
    text = installed.read_text("direct_url.json") if installed is not None else None
    if installed is None or text is None or Path(str(installed.locate_file(place.name))).resolve() != place:
        return None
    commit = json.loads(text).get("vcs_info", {}).get("commit_id")
    return None if commit is None else str(commit)
