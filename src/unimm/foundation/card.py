"""The card of a foundation's folder, and where such folders lie; who only asks which parts these are needs no torch.

``card.json`` lists every file with its hash and says how the parts were made; a file that was altered or cut short is
refused by name. A part's fingerprint is the hash of its files' hashes.

A foundation can be built on another one, its ``base``, and have some of that one's parts: their files lie in the base's
folder alone, and the card lists them with their hashes like its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimm.files import cache_folder, read_object, write_json

CARD = "card.json"
MEND = "reinstall unimm or rebuild the foundation"


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_card(folder: Path, facts: dict[str, Any], shared: Mapping[str, str] | None = None) -> None:
    """Write ``card.json`` with the given facts, the hash of every other file, its own and ``shared`` ones of a base."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CARD)
    hashes = {str(p.relative_to(folder)): sha256(p) for p in files}
    write_json(folder / CARD, {**facts, "files": {**(shared or {}), **hashes}})


def lies(folder: Path, card: Mapping[str, Any], name: str) -> Path:
    """Where a file or part of the foundation in ``folder`` lies: there, or with the foundation that it is built on."""
    base = card.get("base")
    return folder / name if base is None or (folder / name).exists() else find(base) / name


def verify(folder: Path) -> dict[str, Any]:
    """The card, after every file's hash was checked; ValueError names the first file that is missing or differs."""
    if not (folder / CARD).exists():
        raise ValueError(f"{folder} holds no foundation: {CARD} is missing; build one with `unimm foundation build`")
    card = read_object(folder / CARD, MEND)
    if not isinstance(card.get("files"), dict):
        raise ValueError(f"{folder / CARD} lists no files: {MEND}")
    for name, expected in card["files"].items():
        path = lies(folder, card, name)
        if not path.exists():
            raise ValueError(f"foundation file {path} is missing; reinstall unimm or rebuild the foundation")
        if sha256(path) != expected:
            raise ValueError(
                f"foundation file {path} is truncated or altered (its sha256 is not the card's); "
                "reinstall unimm or rebuild the foundation"
            )
    return card


SHIPPED = Path(__file__).parent / "shipped"


def built() -> Path:
    """Where foundations that were built on this machine lie."""
    return cache_folder() / "foundations"


def is_there(name: str) -> bool:
    """Whether a foundation of that name ships, was built on this machine, or is a folder."""
    return any((folder / CARD).exists() for folder in _places(name))


def find(name: str) -> Path:
    """The folder of a shipped or built foundation by name, or the folder that ``name`` is a path to."""
    for folder in _places(name):
        if folder.is_dir():
            return folder
    known = sorted(p.name for p in SHIPPED.iterdir() if p.is_dir()) if SHIPPED.exists() else []
    raise ValueError(
        f"no foundation {name!r}: shipped are {', '.join(known) or 'none'}; build one with "
        "`unimm foundation build NAME --profile PROFILE`, or give the folder of one"
    )


def part_path(name: str, part: str) -> Path:
    """Where a part of the foundation of that name lies."""
    folder = find(name)
    return lies(folder, read_object(folder / CARD, MEND), part)


def _places(name: str) -> tuple[Path, ...]:
    return SHIPPED / name, built() / name, Path(name)


def fingerprint(card: Mapping[str, Any], part: str) -> str:
    """A short hash over a part's files."""
    own = [h for f, h in card["files"].items() if f.startswith(f"{part}/")]
    return hashlib.sha256("".join(sorted(own)).encode()).hexdigest()[:16]


def is_judging(part: str) -> bool:
    """Whether a part, by its name, scores images, so that no arm starts from it."""
    return part.startswith(("features", "evaluator"))


def fingerprints(name: str) -> dict[str, str]:
    """Part -> hash of the foundation of that name, as its card has it; empty if there is none here."""
    if not is_there(name):
        return {}
    card = read_object(find(name) / CARD, MEND)
    return {part: fingerprint(card, part) for part in card["costs"]}
