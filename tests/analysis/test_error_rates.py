"""The simulations behind the analysis, small: each still runs, and still shows what the docs say it shows."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "simulations"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows of a simulation's table as dictionaries; two columns of one name make a list."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name: str, studies: int) -> list[list[str]]:
        headers, found = importlib.import_module(name).table(studies)
        assert found and all(len(row) == len(headers) for row in found)
        return [list(row) for row in found]

    yield run
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_power_is_what_it_promises(rows: Any) -> None:
    found = [(float(row[3]), float(row[5])) for row in rows("power_of_welch", 4000)]
    assert min(before for before, _ in found) < 20, "four against four that share 2 standard deviations"
    assert all(now == pytest.approx(80, abs=3) for _, now in found)


def test_holms_levels_give_negligible_no_error_rate(rows: Any) -> None:
    found = {tuple(row[:2]): (float(row[2]), float(row[3])) for row in rows("negligible", 2000)}
    assert found["10", "6"][0] > 7
    assert all(now <= 5 for _, now in found.values())


def test_logarithms_mend_skewed_distances(rows: Any) -> None:
    for spreads, seeds, linear, log in rows("log_distances", 4000):
        if (spreads, seeds) == ("0.7 and 0.05", "10"):
            assert float(linear.split(" / ")[0]) > 8
        assert float(log.split(" / ")[0]) <= 7.5


def test_seeds_that_decide_do_if_all_is_as_estimated(rows: Any) -> None:
    found = [[float(cell) for cell in row] for row in rows("seeds_that_decide", 12)]
    assert all(row[2] > row[1] and row[4] > 75 > row[3] for row in found)


def test_warnings_come_where_intervals_fail(rows: Any) -> None:
    found = {
        (case, seeds): tuple(map(float, cells[:3])) for case, seeds, *cells in rows("warnings_beside_verdicts", 200)
    }
    covers, skewed, _ = found["near 0 against a tight arm", "10"]
    assert covers < 92 and skewed > 90
    assert all(share <= 8 for (case, _), cells in found.items() if case.startswith("normal") for share in cells[1:])
