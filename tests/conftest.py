"""Tiny checkpoints for every test that loads one.

Nothing of unimm is imported here: pytest's check of shapes starts when unimm is first imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The folder of a tiny checkpoint by name, saved at first use; nobody writes into it."""
    saved: dict[str, Path] = {}

    def folder(name: str) -> Path:
        from tiny_checkpoints import save

        if name not in saved:
            saved[name] = save(name, tmp_path_factory.mktemp("checkpoints") / name)
        return saved[name]

    return folder
