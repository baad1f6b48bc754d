"""The foundation's card and its hashes: what lies in the folder, and proof that nothing was altered or cut short."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from unimm.files import write_json

CARD = "card.json"


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``card.json`` with the hash of every other file and the given facts."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CARD)
    write_json(folder / CARD, {**facts, "files": {str(p.relative_to(folder)): sha256(p) for p in files}})


def verify(folder: Path) -> dict[str, Any]:
    """The card, after every file's hash was checked; ValueError names the first file that is missing or differs."""
    if not (folder / CARD).exists():
        raise ValueError(f"{folder} holds no foundation: {CARD} is missing; build one with `unimm foundation build`")
    card: dict[str, Any] = json.loads((folder / CARD).read_text())
    for name, expected in card["files"].items():
        path = folder / name
        if not path.exists():
            raise ValueError(f"foundation file {path} is missing; reinstall unimm or rebuild the foundation")
        if sha256(path) != expected:
            raise ValueError(
                f"foundation file {path} is truncated or altered (its sha256 is not the card's); "
                "reinstall unimm or rebuild the foundation"
            )
    return card
