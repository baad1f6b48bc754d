"""What reads, decides, reports and plans loads no torch, which takes seconds: one process imports all of it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import unimm.analysis

READS = ("runs.record", "runs.reading", "report.study.page", "report.study.compare")
PLANS = ("cli", "collect", "expand", "launch", "plan", "status", "tether", "trials", "worker")
CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""


def test_reading_deciding_reporting_and_planning_import_no_torch() -> None:
    decides = [module.name for module in pkgutil.iter_modules(unimm.analysis.__path__, "unimm.analysis.")]
    assert "unimm.analysis.verdicts" in decides
    names = [*decides, *(f"unimm.{name}" for name in READS), *(f"unimm.study.{name}" for name in PLANS)]
    done = subprocess.run([sys.executable, "-c", CODE, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
