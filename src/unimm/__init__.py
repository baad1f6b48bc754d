"""unimm: an ablation-study harness for unified multimodal models."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`UnimmPipeline` on demand: importing unimm alone loads no torch."""
    if name == "UnimmPipeline":
        from unimm.export.pretrained import UnimmPipeline

        return UnimmPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
