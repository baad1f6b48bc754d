"""Fully sharded data parallelism (FSDP2, `torch.distributed.fsdp.fully_shard`), for models that no one GPU holds.

Weights, gradients, optimiser and moving average are split over ranks; a block is gathered when it computes. Checkpoints
are nevertheless whole, in the very format of an unsharded run, so that any number of ranks resumes any other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from unimm.components import layer_blocks


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Split a module in place, layer by layer; it must be called as a whole, not by its parts."""
    for block in layer_blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, which may be split over ranks: then every rank has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor on the device of ``model``, and split as it is."""
    if isinstance(tensor, DTensor):
        return tensor
    if not isinstance(model, DTensor):
        return tensor.to(model.device)
    return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)


class Sharded(ModelParallelStrategy):
    """Lightning's process and mesh handling, with whole checkpoints that an unsharded run could have written."""

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors on the CPU; frozen parameters, which no checkpoint holds, are left out before gathering."""
        assert self.lightning_module is not None
        frozen = frozen_names(self.lightning_module)
        state = self.lightning_module.state_dict()
        return {name: whole(value).cpu() for name, value in state.items() if name not in frozen}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return _whole(optimizer.state_dict())

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        loaded: dict[str, Any] = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
        return loaded

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        state = {name: like(value, own[name]) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            split = {
                number: {key: like(v, parameters[number]) if v.ndim else v for key, v in entry.items()}
                for number, entry in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": split})


def _whole(state: dict[str, Any]) -> dict[str, Any]:
    gathered: dict[str, Any] = tree_map(lambda v: whole(v).cpu() if isinstance(v, Tensor) else v, state)
    return gathered


def frozen_names(module: nn.Module) -> set[str]:
    """Names of the parameters that do not train, every name of a shared one."""
    return {name for name, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad}


def split_again(module: nn.Module) -> None:
    """Leave each rank its part alone: FSDP2 keeps a root's parameters whole after a forward pass, for the backward
    pass, which an evaluation does not make."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
