"""A foundation: the verified folder of pretrained parts that arms start from, found by name.

``card.json`` lists every file with its hash and says how the parts were made; a file that was altered or cut short is
refused by name. Components build themselves from the folder's files, so nothing here knows what an encoder is.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from unimm.files import cache_folder, write_json
from unimm.scenes.world import World, world

T = TypeVar("T")
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


def _places(name: str) -> tuple[Path, ...]:
    return SHIPPED / name, built() / name, Path(name)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """A safetensors file as float32."""
    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


class Foundation:
    """A verified foundation folder: it offers files and facts, and builds no component.

    ``resolution`` is the side in pixels of the images that a run encodes, draws and compares with, ``trained_at`` the
    side of those that the parts were trained on; they differ where a run's source says so.
    """

    def __init__(self, name: str, resolution: int | None = None) -> None:
        self.folder = find(name)
        self.card = verify(self.folder)
        self.world: World = world(self.card["world"])
        self.trained_at: int = self.card["resolution"]
        self.resolution: int = resolution or self.trained_at
        self._made: dict[str, Any] = {}  # shared by the copies that `at` makes

    def at(self, resolution: int) -> Foundation:
        """The same parts for images of another side."""
        other = copy.copy(self)
        other.resolution = resolution
        return other

    def settings(self, file: str) -> dict[str, Any]:
        """A part's JSON file, such as ``vae/config.json``."""
        return json.loads((self.folder / file).read_text())  # type: ignore[no-any-return]

    def weights(self, file: str) -> dict[str, torch.Tensor]:
        """A part's safetensors file as float32."""
        return load_weights(self.folder / file)

    def once(self, part: str, build: Callable[[], T]) -> T:
        """What ``build`` makes, made once: components that share a part, an encoder and its decoder, get the same."""
        if part not in self._made:
            self._made[part] = build()
        return cast("T", self._made[part])

    def fingerprint(self, part: str) -> str:
        """A short hash over a part's files."""
        own = [h for f, h in self.card["files"].items() if f.startswith(f"{part}/")]
        return hashlib.sha256("".join(sorted(own)).encode()).hexdigest()[:16]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, from its saved files."""
        return PreTrainedTokenizerFast.from_pretrained(self.folder / "tokenizer")  # type: ignore[no-any-return]
