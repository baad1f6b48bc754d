"""Memory of one GPU in training: weights, gradients, optimiser, moving average, activations.

``replicated`` keeps everything on every GPU (DDP); ``sharded`` splits all but the activations over the GPUs (FSDP, full
sharding) and has one block at a time in full. Buffers of the communication and of the allocator are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from unimm.components import parameter_count
from unimm.planning.assumptions import AUTOCAST_COPY, AVERAGE, GRADIENT, MOMENTS, WEIGHT
from unimm.planning.work import Kept


class Memory(NamedTuple):
    """Bytes on one GPU."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def replicated(frozen_bytes: int, trained: int, copied: int, kept: Kept, samples: int) -> Memory:
    """Every GPU holds the whole model and ``samples`` of the batch.

    Args:
        frozen_bytes: memory of the frozen weights.
        trained: trained parameters.
        copied: parameters of which autocast keeps a bfloat16 copy; zero without autocast.
        kept: activations of a sample.
        samples: samples of a step on this GPU.
    """
    return Memory(
        weights=frozen_bytes + WEIGHT * trained + AUTOCAST_COPY * copied,
        gradients=GRADIENT * trained,
        optimiser=MOMENTS * trained,
        average=AVERAGE * trained,
        activations=sum(kept) * samples,
    )


def sharded(whole: Memory, gpus: int, block: int) -> Memory:
    """The same, split over ``gpus``; ``block`` is the memory of the largest block, which is gathered before its use."""

    def share(part: int) -> int:
        return -(-part // gpus)

    return Memory(
        weights=share(whole.weights) + block,
        gradients=share(whole.gradients),
        optimiser=share(whole.optimiser),
        average=share(whole.average),
        activations=whole.activations,
    )


def largest_block(*modules: nn.Module) -> int:
    """Bytes at float32 of the largest entry of any list of layers, or of the largest module if there is no list."""
    lists = [part for module in modules for part in module.modules() if isinstance(part, nn.ModuleList)]
    blocks = [block for entries in lists for block in entries] or list(modules)
    return WEIGHT * max(parameter_count(block) for block in blocks)
