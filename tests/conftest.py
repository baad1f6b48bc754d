"""Tiny checkpoints for every test that loads one, and the order of the tests.

Nothing of unimm is imported here: pytest's check of shapes starts when unimm is first imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
Checkpoint = Callable[[str], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the other worker would wait for one that came last."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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
