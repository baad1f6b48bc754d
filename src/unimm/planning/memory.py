"""Memory of one GPU in training: weights, gradients, optimiser, moving average, activations.

``replicated`` keeps everything on every GPU (DDP); ``sharded`` splits all but the activations over the GPUs (FSDP2) and
has one layer at a time in full, with what belongs to no layer. Buffers of the communication and of the allocator are
left out.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from unimm.components import layer_blocks, parameter_count
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
    """Every GPU holds the whole model and ``samples`` at a time.

    Args:
        frozen_bytes: memory of the frozen weights.
        trained: trained parameters.
        copied: parameters of which autocast keeps a bfloat16 copy; zero without autocast.
        kept: activations of a sample.
        samples: samples of a micro-batch on this GPU.
    """
    return Memory(
        weights=frozen_bytes + WEIGHT * trained + AUTOCAST_COPY * copied,
        gradients=GRADIENT * trained,
        optimiser=MOMENTS * trained,
        average=AVERAGE * trained,
        activations=sum(kept) * samples,
    )


def sharded(whole: Memory, gpus: int, gathered: int) -> Memory:
    """The same, split over ``gpus``; ``gathered`` is the memory of what is whole at a time."""

    def share(part: int) -> int:
        return -(-part // gpus)

    return Memory(
        weights=share(whole.weights) + gathered,
        gradients=share(whole.gradients),
        optimiser=share(whole.optimiser),
        average=share(whole.average),
        activations=whole.activations,
    )


def gathered(*modules: nn.Module) -> int:
    """Bytes at float32 that a pass through the neediest module gathers at a time: one layer, the largest, and
    everything outside the layers, such as embeddings."""
    return WEIGHT * max(map(_gathered, modules))


def _gathered(module: nn.Module) -> int:
    layers = [parameter_count(layer) for layer in layer_blocks(module)]
    return parameter_count(module) - sum(layers) + max(layers, default=0)
