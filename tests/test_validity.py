"""Numbers that docs/validity.md quotes from a check are what the check prints, and README quotes no others."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "validity.py"
PAGE = (ROOT / "docs" / "validity.md").read_text()
CITED = re.compile(r"`experiments/validity\.py (\w+)`")
NUMBER = re.compile(r"\d+\.\d{3}(?!\d)|[+-]\d\.\d{2}(?!\d)")
ROWS = [line for line in PAGE.splitlines() if CITED.search(line)]


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("validity", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def printed(check: str) -> str:
    return "\n".join(script().CHECKS[check]())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_a_row_quotes_what_its_check_prints(row: str) -> None:
    checks = [match.group(1) for match in CITED.finditer(row)]
    found = "\n".join(map(printed, checks))
    assert [number for number in NUMBER.findall(row) if number not in found] == []


def test_every_check_is_cited_and_the_command_runs() -> None:
    assert {match.group(1) for match in CITED.finditer(PAGE)} == set(script().CHECKS)
    shown = subprocess.run([sys.executable, SCRIPT, "diversity"], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[1:] == [f"  {line}" for line in printed("diversity").splitlines()]


def test_readme_quotes_findings_that_validity_backs() -> None:
    """Every three-digit number of the README's findings stands in validity, or in the study's own report."""
    found = (ROOT / "README.md").read_text().partition("## What was found")[2].partition("\n## ")[0]
    reports = (ROOT / "reports/design_choices/report.md").read_text()
    numbers = set(re.findall(r"\d\.\d{3}", found))
    assert {"0.141", "0.559", "0.119", "0.037"} <= numbers
    assert {number for number in numbers if number not in PAGE and number not in reports} == set()


def test_an_interval_is_students() -> None:
    """Of -1, 0, 1: the mean is 0, its standard error 1 / sqrt(3), and t with two degrees of freedom 4.303."""
    reach = 4.302653 / np.sqrt(3)
    assert script().interval(np.array([-1.0, 0.0, 1.0])).startswith(f"+0.000 ({-reach:+.3f} to {reach:+.3f};")
    curve = [{"samples": n, "scores": {"x": value}} for n, value in ((100, 0.2), (400, 0.4), (1600, 0.8))]
    assert script()._crossing(curve, "x", 0.3) == pytest.approx(200)
