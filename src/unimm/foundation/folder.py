"""A foundation: the verified folder of pretrained parts that arms start from, found by name (`card.py`).

Components build themselves from the folder's files, so nothing here knows what an encoder is.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from unimm.foundation.card import find, fingerprint, lies, verify
from unimm.scenes.world import World, world

T = TypeVar("T")


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
        self.world: World = world(self.card["world"], self.card.get("questions", "by_scene"))
        self.trained_at: int = self.card["resolution"]
        self.resolution: int = resolution or self.trained_at
        self._made: dict[str, Any] = {}  # shared by the copies that `at` makes

    def at(self, resolution: int) -> Foundation:
        """The same parts for images of another side."""
        other = copy.copy(self)
        other.resolution = resolution
        return other

    def path(self, name: str) -> Path:
        """Where a part or a file of one lies."""
        return lies(self.folder, self.card, name)

    def settings(self, file: str) -> dict[str, Any]:
        """A part's JSON file, such as ``vae/config.json``."""
        return json.loads(self.path(file).read_text())  # type: ignore[no-any-return]

    def weights(self, file: str) -> dict[str, torch.Tensor]:
        """A part's safetensors file as float32."""
        return load_weights(self.path(file))

    def once(self, part: str, build: Callable[[], T]) -> T:
        """What ``build`` makes, made once: components that share a part, an encoder and its decoder, get the same."""
        if part not in self._made:
            self._made[part] = build()
        return cast("T", self._made[part])

    def fingerprint(self, part: str) -> str:
        """A short hash over a part's files."""
        return fingerprint(self.card, part)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, from its saved files."""
        return PreTrainedTokenizerFast.from_pretrained(self.path("tokenizer"))  # type: ignore[no-any-return]
