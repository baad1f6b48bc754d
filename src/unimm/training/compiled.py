"""What `training.compile` turns into generated kernels: the head, and the queries' pass over known prompts.

Around the matrix products of a small model lie norms, gates, rotary embeddings and activations, each a pass over memory
of its own; `torch.compile` fuses them. It takes a minute or two at first. The kernels are kept beside the latent cache,
so that the next run of the same shapes starts in seconds. The same kernels run after a resume, so that a resumed run
still repeats a straight one bit by bit; against a run without compilation results differ by rounding.
"""

from __future__ import annotations

import os
import shutil

import torch

from unimm.arm import Arm
from unimm.files import cache_folder
from unimm.progress import say

COMPILERS = ("g++", "clang++")


def compile_parts(arm: Arm, device: torch.device) -> bool:
    """Let head and backbone compile at their first step; False, with one line, where the CPU's kernels cannot be."""
    compiler = os.environ.get("CXX")
    if device.type == "cpu" and not any(map(shutil.which, (compiler,) if compiler else COMPILERS)):
        wanted = f"$CXX={compiler}" if compiler else " or ".join(COMPILERS)
        say(f"training.compile: no C++ compiler here ({wanted}), so this run trains without compilation")
        return False
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    for part in (arm.head, arm.backbone):
        part.compile()
    return True
