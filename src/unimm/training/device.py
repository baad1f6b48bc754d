"""Which device a run uses."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device=cuda, but this machine has no CUDA device; use training.device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
