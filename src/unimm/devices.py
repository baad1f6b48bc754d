"""What a run computes on: the device it picks, that device's name in words, and the memory it took."""

from __future__ import annotations

import os
import platform
import resource
import sys

import torch

from unimm.matmul import faster_products


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one; a CPU gets the faster of its matrix products (`unimm.matmul`)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device=cuda, but this machine has no CUDA device; use training.device=auto")
    if name != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    faster_products()
    return torch.device("cpu")


def peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """What a run ran on, in words."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} x {platform.machine()} CPU"
