"""Which blocks of a vision tower make the target: one, or the sum of several.

With h_j the patch tokens of block j, the target is ``sum_j h_j`` over ``layers`` blocks, counted backward in steps of
``every``; with ``normed`` each is first normalised over its channels, without gain or bias, as RAE (arXiv 2510.11690)
does with the last block. RAEv2 (arXiv 2605.18324) found sums of 7 and 23 blocks of DINOv3 to reconstruct better than
the last one alone; its code takes their mean, every second block (k = 7) and normed, and standardisation makes mean and
sum the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from unimm.component_config import ComponentConfig

EPS = 1e-6  # of the final norms of DINOv2 and SigLIP


class BlockSum(ComponentConfig):
    """``layers``: how many blocks are summed; ``every``: steps between them; ``normed``: each normalised before."""

    layers: int = Field(1, ge=1)
    every: int = Field(1, ge=1)
    normed: bool = False

    @model_validator(mode="after")
    def _steps_need_layers(self) -> BlockSum:
        if self.every > 1 and self.layers == 1:
            raise ValueError("every is the step between summed blocks: set layers to 2 or more, or remove it")
        return self

    def blocks(self, last: int) -> list[int]:
        """Numbers of the blocks, counted from the end (-1: the last), beginning with ``last``."""
        return [last - number * self.every for number in range(self.layers)]

    def sum_facts(self) -> dict[str, Any]:
        """What a fingerprint has to tell apart; nothing for one block as it is."""
        own = {"layers": self.layers, "every": self.every, "normed": self.normed}
        return {} if (self.layers, self.normed) == (1, False) else own

    def combined(self, blocks: Sequence[Float[Tensor, "b d h w"]]) -> Float[Tensor, "b d h w"]:
        """The sum of blocks, in float32."""
        whole = [block.float() for block in blocks]
        return reduce(torch.add, map(normed, whole) if self.normed else whole)


def normed(grid: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
    """Every token with mean 0 and variance 1 over its channels."""
    return F.layer_norm(grid.movedim(1, -1), grid.shape[1:2], eps=EPS).movedim(-1, 1)


def check_blocks(config: BlockSum, last: int, blocks: int, tower: str) -> None:
    """ValueError where a tower of so many blocks has not all those that are summed."""
    first = config.blocks(last)[-1]
    if -first <= blocks:
        return
    if config.layers == 1:
        raise ValueError(f"encoder.layer={last}, but {tower} has {blocks} blocks: choose -1 (the last) to -{blocks}")
    most = (blocks + last) // config.every + 1
    choice = f"choose at most layers={most}" if most > 0 else f"choose a layer of -1 to -{blocks}"
    raise ValueError(
        f"encoder.layers={config.layers} in steps of {config.every} from layer {last} needs {-first} blocks, but "
        f"{tower} has {blocks}: {choice}"
    )
