"""Statistics read numbers: importing all of them must not load torch."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import unimm.analysis
for module in pkgutil.iter_modules(unimm.analysis.__path__, "unimm.analysis."):
    importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("unimm.analysis.")]), "torch" in sys.modules)
"""


def test_analysis_imports_no_torch() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    count, torch = found.stdout.split()
    assert int(count) > 10 and torch == "False"
