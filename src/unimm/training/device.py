"""Which device a run uses, in which precision, and how much memory it took."""

from __future__ import annotations

import resource
import sys

import torch

from unimm.schema import TrainingConfig


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device=cuda, but this machine has no CUDA device; use training.device=auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def uses_bf16(settings: TrainingConfig, device: torch.device) -> bool:
    """Whether training computes in bfloat16; ``auto`` does on CUDA."""
    return settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")


def autocast(settings: TrainingConfig, device: torch.device) -> torch.autocast:
    """The context in which training computes its losses."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(settings, device))


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
