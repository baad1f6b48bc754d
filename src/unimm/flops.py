"""Floating-point operations of a training or sampling step, counted while it runs.

`torch.utils.flop_counter` counts 2 m n k for a matrix product and nothing for norms, elementwise work, look-ups and
optimiser steps. On the CPU it also counts nothing for fused attention and for the encoder layers' fast path (pytorch
issue 195460), so that a transformer silently loses its attention: here attention gets its formulas, the fast path is
off while counting, and a module that holds a matrix but counts zero is an error. Fused attention computes its scores
again in the backward pass, which makes that pass 2.5 times the forward one, and 3.5 in all, on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


def count_flops(step: Callable[[], object]) -> int:
    """FLOPs of everything that ``step`` runs, forwards and backwards.

    Raises RuntimeError, which names them, if modules that hold a matrix ran but counted nothing (a recurrent layer on
    the CPU, for one): their work is not counted, so that the total would be wrong.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
    with _without_fast_path(), counter, _forward_flops(counter) as by_module:
        step()
    silent = [str(module).splitlines()[0] for module, flops in by_module.items() if flops == 0 and weights(module)]
    if silent:
        raise RuntimeError(f"no FLOPs were counted for modules that hold matrices: {', '.join(silent)}")
    return int(counter.get_total_flops())


def weights(module: nn.Module) -> int:
    """Entries of the module's matrices and convolution kernels, embedding tables left out."""
    return sum(
        parameter.numel()
        for part in module.modules()
        if not isinstance(part, nn.Embedding)
        for parameter in part.parameters(recurse=False)
        if parameter.ndim >= 2
    )


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """The encoder layers' fused fast path, which counts nothing, off and then as it was."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _forward_flops(counter: FlopCounterMode) -> Iterator[dict[nn.Module, int]]:
    """Every module that runs meanwhile, with the FLOPs counted between its entries and its exits."""
    flops: dict[nn.Module, int] = {}

    def enter(module: nn.Module, _: Any) -> None:
        flops[module] = flops.get(module, 0) - counter.get_total_flops()

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        flops[module] += counter.get_total_flops()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield flops
    finally:
        for handle in handles:
            handle.remove()
