"""Preset scores: crossings by hand, and the three ways in which a run's cost is only bounded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unimm.runs.cost import PRESETS, reached
from unimm.runs.record import CurvePoint

FLOPS = 2.0e6


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": s, "samples": 10 * s, "seconds": 0.5 * s} for s in (100, 200, 800)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def curve(*atoms: float) -> list[CurvePoint]:
    return [
        CurvePoint(step=100 * 2**i, samples=1000 * 2**i, n=1, scores=dict.fromkeys(PRESETS, 0.0) | {"atoms/overall": a})
        for i, a in enumerate(atoms)
    ]


def atoms_row(log: Path, *atoms: float) -> dict:
    (found,) = [row for row in reached(curve(*atoms), FLOPS, log) if row.score == "atoms/overall"]
    return found.model_dump()


def test_a_crossing_halfway_lies_at_the_geometric_mean(log: Path) -> None:
    found = atoms_row(log, 0.2, 0.4, 0.6, 0.7)
    expected = 2000 * 2**0.5
    assert found["samples"] == {"low": pytest.approx(expected), "high": pytest.approx(expected)}
    assert found["flops"]["low"] == pytest.approx(expected * FLOPS)
    assert found["seconds"]["high"] == pytest.approx(expected * 0.05)


def test_a_score_that_is_not_reached_is_censored_at_the_last_snapshot(log: Path) -> None:
    found = atoms_row(log, 0.2, 0.3, 0.4, 0.45)
    assert found["samples"] == {"low": 8000, "high": None}
    assert found["flops"] == {"low": 8000 * FLOPS, "high": None}
    assert found["seconds"] == {"low": pytest.approx(400), "high": None}


def test_one_high_snapshot_is_no_crossing_and_the_last_one_is_unconfirmed(log: Path) -> None:
    assert atoms_row(log, 0.2, 0.6, 0.3, 0.4)["samples"] == {"low": 8000, "high": None}
    unconfirmed = atoms_row(log, 0.2, 0.3, 0.4, 0.6)["samples"]
    assert unconfirmed == {"low": pytest.approx(4000 * 2**0.5), "high": None}


def test_a_crossing_before_the_first_snapshot_has_an_upper_bound(log: Path) -> None:
    found = atoms_row(log, 0.6, 0.7)
    assert found["samples"] == {"low": 0, "high": 1000} and found["seconds"] == {"low": 0, "high": 50}


def test_a_single_point_is_no_curve(log: Path) -> None:
    assert reached(curve(0.9), FLOPS, log) == []
