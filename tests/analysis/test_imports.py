"""Statistics read numbers: importing all of them must not load torch."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import unimm.analysis
names = [module.name for module in pkgutil.iter_modules(unimm.analysis.__path__, "unimm.analysis.")]
for name in names:
    importlib.import_module(name)
print("unimm.analysis.verdicts" in names and set(names) <= set(sys.modules), "torch" in sys.modules)
"""


def test_analysis_imports_no_torch() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]
