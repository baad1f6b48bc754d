"""Low-rank adapters in the backbone's linear layers, through `peft` (the extra ``[lora]``)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from pydantic import Field

from unimm.component_config import ComponentConfig

MARK = "lora_"


class Lora(ComponentConfig):
    """``targets``: all linear layers but the output layer, or names of layers, as in [q_proj, v_proj]."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    targets: str | tuple[str, ...] = "all-linear"


def add_adapters(language_model: Any, config: Lora, seed: int) -> None:
    """Put adapters that change nothing yet into the language model, in place.

    Raises:
        ValueError: peft is not installed, or no layer has one of the target names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("backbone.lora needs peft, which is not installed: pip install 'unimm[lora]'") from error
    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(settings, language_model)
        except ValueError as error:
            raise ValueError(f"backbone.lora.targets={config.targets}: {error}") from error
    for name, parameter in language_model.named_parameters():
        if MARK in name:  # peft takes the base layer's type, in which small steps would round away
            parameter.data = parameter.data.float()


def merged(model: Any) -> Any:
    """A copy of the model whose layers hold what their adapters add, and no adapters."""
    whole = copy.deepcopy(model)
    adapted = [(name, layer) for name, layer in whole.named_modules() if hasattr(layer, "get_base_layer")]
    for name, layer in adapted:
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(whole.get_submodule(parent), attribute, layer.get_base_layer())
    return whole
