"""Weights that a run starts from, where it goes on from an earlier stage: ``start.safetensors`` in its folder.

The file holds all that was trained so far, which may be more than the run itself trains: its own averaged weights are
only half of it without these.
"""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import load_file, save_file

from unimm.files import replace
from unimm.training.assemble import Arm

FILE, TRAINED = "start.safetensors", "weights.safetensors"


def hand_over(earlier: Path, later: Path) -> None:
    """Let the run in folder ``later`` start from the averaged final weights of the finished one in ``earlier``."""
    weights = load_file(earlier / FILE) if (earlier / FILE).exists() else {}
    temporary = later / f".{FILE}.{os.getpid()}.tmp"
    save_file(weights | load_file(earlier / TRAINED), temporary)
    replace(temporary, later / FILE)


def begin(arm: Arm, folder: Path) -> None:
    """Put the weights that the run in ``folder`` starts from into its arm; a run of its own starts as it is."""
    if not (folder / FILE).exists():
        return
    weights = load_file(folder / FILE)
    for part, module in (("backbone", arm.backbone), ("head", arm.head)):
        own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        unexpected = module.load_state_dict(own, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"{folder / FILE} holds {unexpected[0]}, which this arm's {part} does not have")
