"""unimm: an ablation-study harness for unified multimodal models."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ON_DEMAND = {
    "UnimmPipeline": "unimm.export.pretrained",
    "load_items": "unimm.runs.frames",
    "load_runs": "unimm.runs.frames",
}


def __getattr__(name: str) -> Any:
    """`UnimmPipeline`, `load_runs` and `load_items` on demand: importing unimm alone loads no torch and no pandas."""
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
