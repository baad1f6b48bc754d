"""``model_index.json``: what an exported model consists of, with a hash of every file.

The card is not hashed, since people edit it where they publish it. A component's folder may hold nothing that the
index does not list: the loaders of `transformers` read whatever lies there.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unimm.files import write_json

INDEX, CARD = "model_index.json", "README.md"
CLASS, FORMAT = "UnimmPipeline", 1


def write_manifest(folder: Path) -> None:
    """Write the index of everything in ``folder``."""
    files = {name: _sha256(folder / name) for name in _inside(folder) if name not in (INDEX, CARD)}
    facts = {"_class_name": CLASS, "_unimm_version": version("unimm"), "format": FORMAT, "files": files}
    write_json(folder / INDEX, facts)


def verify_manifest(folder: Path) -> None:
    """Check every file against the index.

    Raises:
        ValueError: no index, one of another kind or of a newer unimm, or a file that is missing, altered or unlisted.
    """
    files = _read(folder)["files"]
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: copy or export the whole model again")
        if _sha256(folder / name) != expected:
            raise ValueError(
                f"{folder / name} is truncated or altered (its sha256 is not that in {INDEX}): copy or export the "
                "model again"
            )
    components = {name.partition("/")[0] for name in files if "/" in name}
    for name in _inside(folder):
        if name.partition("/")[0] in components and name not in files:
            raise ValueError(f"{folder / name} is not part of the model ({INDEX} does not list it): remove it")


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder} holds no exported model: it has no {INDEX}; make one with `unimm export RUN DIR`")
    try:
        facts: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / INDEX} is truncated or altered ({error}): copy the model again") from error
    if facts.get("_class_name") != CLASS:
        raise ValueError(f"{folder} holds a {facts.get('_class_name')}, not a {CLASS}: load it with its own library")
    if not 1 <= facts["format"] <= FORMAT:
        raise ValueError(f"{folder} was exported by unimm {facts['_unimm_version']}: install that version or a newer")
    return facts


def _inside(folder: Path) -> list[str]:
    """Relative paths of all files, sorted, hidden files and folders at the top left out (hubs put theirs there)."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not name.startswith("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
