"""unimm: an ablation-study harness for unified multimodal models."""

__version__ = "0.1.0"
