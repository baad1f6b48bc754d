"""Low-rank adapters in a language model's layers, by `peft` (the extra ``[lora]``): put in, and merged for export."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import torch

from unimm.components import Lora

MARK, ALL_LINEAR = "lora_", "all-linear"


def add_adapters(model: Any, config: Lora, seed: int, owner: str = "backbone.lora") -> None:
    """Put adapters that change nothing yet into the model's decoder, in place; ``owner`` has these settings.

    Raises:
        ValueError: peft is not installed, a target names no layer of the decoder, or one is an embedding that the
            output layer shares.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"{owner} needs peft, which is not installed: pip install 'unimm[lora]'") from error
    decoder = model.get_decoder()
    check_targets(model, decoder, config.targets, owner)
    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(settings, decoder)
        except ValueError as error:
            raise ValueError(f"{owner}.targets={config.targets}: {error}") from error
    for name, parameter in decoder.named_parameters():
        if MARK in name:  # peft takes the base layer's type, in which small steps would round away
            parameter.data = parameter.data.float()


def check_targets(model: Any, decoder: Any, targets: str | tuple[str, ...], owner: str = "backbone.lora") -> None:
    """Each of the targets names layers that adapters can lie in: by the end of their names, or one pattern for the
    whole name, as in peft.

    Adapters lie in the decoder alone: a target outside of it, such as the output layer, would be ignored as long as
    another one is found. In an embedding that is the output layer too (tied weights) an adapter would change the input
    alone while it trains, and both once it is merged: the exported model would be another one.

    Raises:
        ValueError: a target names no layer of the decoder, or the output layer, or the tied embedding.
    """
    if targets == ALL_LINEAR:
        return
    layers = [name for name, _ in decoder.named_modules()]
    output = next((name for name, layer in model.named_modules() if layer is model.get_output_embeddings()), None)
    tied = shared_embedding(model, decoder)
    for target in [targets] if isinstance(targets, str) else targets:
        named = _pattern(target, owner) if isinstance(targets, str) else _end(target)
        if not any(map(named, layers)) or (output is not None and named(output)):
            there = sorted({name.rpartition(".")[2] for name, m in decoder.named_modules() if hasattr(m, "weight")})
            raise ValueError(
                f"{owner}.targets={targets}: {target} names no layer of the decoder or one outside of it, and "
                f"adapters lie in the decoder alone; it has {', '.join(there)}"
            )
        if tied is not None and named(tied):
            raise ValueError(
                f"{owner}.targets={targets}: {target} names the input embedding {tied}, which this model also "
                "uses as its output layer (tied weights), so that the merged export would be another model than the "
                "trained one: leave it out"
            )


def _end(target: str) -> Callable[[str], bool]:
    return lambda name: name == target or name.endswith(f".{target}")


def _pattern(target: str, owner: str) -> Callable[[str], bool]:
    try:
        compiled = re.compile(target)
    except re.error as error:
        raise ValueError(f"{owner}.targets={target}: no regular expression ({error})") from error
    return lambda name: compiled.fullmatch(name) is not None


def shared_embedding(model: Any, decoder: Any) -> str | None:
    """The name in the decoder of the input embedding whose weights are the output layer's too; None where untied."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if output is None or output.weight is not embedding.weight:
        return None
    return next((name for name, module in decoder.named_modules() if module is embedding), None)


def merged(model: Any) -> Any:
    """A copy of the model whose layers hold what their adapters add, and no adapters."""
    whole = copy.deepcopy(model)
    adapted = [(name, layer) for name, layer in whole.named_modules() if hasattr(layer, "get_base_layer")]
    for name, layer in adapted:
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(whole.get_submodule(parent), attribute, layer.get_base_layer())
    return whole


def adapter_parameters(model: Any) -> list[torch.nn.Parameter]:
    """What the model's adapters train; none where it has none."""
    return [parameter for name, parameter in model.named_parameters() if MARK in name]
