"""`constraints/oldest-*.txt` is the lower end of what pyproject allows: what `make test-oldest` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lowest() -> dict[str, str]:
    """The oldest version of every dependency, by its name in lower case."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = [re.match(r"([\w-]+)>=([\d.]+)", line) for line in stated]
    assert all(found), "every dependency has a lower end"
    return {match[1].lower(): match[2] for match in found if match}


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("oldest-*.txt")), ids=lambda path: path.stem)
def test_the_oldest_constraints_are_the_lower_ends_of_pyproject(path: Path) -> None:
    pins = dict(line.lower().split("==") for line in path.read_text().splitlines() if not line.startswith("#"))
    expected = lowest()
    assert expected.keys() <= pins.keys()
    assert {name: short(pins[name]) for name in expected} == {name: short(own) for name, own in expected.items()}


def short(version: str) -> str:
    """Without zeros at its end: 5.0.0 is 5."""
    return re.sub(r"(\.0)+$", "", version)
