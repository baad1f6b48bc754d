"""The architecture page shows the rooms as the import contract has them, and names files that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_table_of_rooms_is_the_import_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    layers = [set(re.findall(r"\w+", layer)) for layer in reversed(contract["layers"])]
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", PAGE, flags=re.MULTILINE)
    rooms = [{room.removesuffix(".py").removesuffix("/") for room in re.findall(r"`(.+?)`", row)} for _, row in rows]
    assert [int(number) for number, _ in rows] == list(range(1, len(layers) + 1))
    assert rooms == layers


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"`([\w/.]+(?:\.py|/))`", PAGE):
        assert (ROOT / name).exists() or (ROOT / "src" / "unimm" / name).exists(), name
