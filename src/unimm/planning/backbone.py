"""What of a backbone trains: nothing, its language model, or low-rank adapters in it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import nn

from unimm.planning.outline import Outline


class Trained(NamedTuple):
    """Parameters that train and that do not; ``whole``: whether the language model's own weights do."""

    trained: int
    frozen: int
    whole: bool


def trained_backbone(arm: Outline) -> Trained:
    """How many of the backbone's parameters the arm's strategy trains; image projectors are left out."""
    everything = _count(arm.language_model)
    lora = getattr(arm.config.backbone.config, "lora", None)
    if not arm.stage.train_backbone:
        return Trained(0, everything, whole=False)
    if lora is not None:
        return Trained(adapter_parameters(arm.language_model, lora.rank, lora.targets), everything, whole=False)
    model: Any = arm.language_model
    text = _count(model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    return Trained(text, everything - text, whole=True)


def adapter_parameters(model: Any, rank: int, targets: str | tuple[str, ...]) -> int:
    """Parameters of low-rank adapters in the decoder's linear layers, picked as `peft` picks them."""
    linear = {name: part for name, part in model.get_decoder().named_modules() if isinstance(part, nn.Linear)}
    picked = [part for name, part in linear.items() if _targeted(name, targets)]
    return sum(rank * (part.in_features + part.out_features) for part in picked)


def _targeted(name: str, targets: str | tuple[str, ...]) -> bool:
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for p in dict.fromkeys(p for module in modules for p in module.parameters()))
