"""Representation alignment (REPA, arXiv 2410.06940): flow matching, with the head's states pulled to a frozen tower's.

    L = |v - head|^2 + w mean (1 - cos(y, P(h)))

h are the states of the head's block ``layer`` at a token, y the tower's token of the same clean image at the same
place, P a perceptron that trains with the head and leaves with training. Any encoder can be the tower: CLIP beside VAE
latents asks whether a head that predicts the one is helped by being shown the other. RAEv2 (arXiv 2605.18324)
compares targets with and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.components import Head, LatentSpec, layer_blocks
from unimm.noise import NoiseSource
from unimm.objectives.cosine import cosine_distance
from unimm.objectives.flow_matching import FlowMatching
from unimm.schema import EncoderChoice


class Alignment(nn.Module):
    """The perceptron P, and the states that the head's last forward pass left for it."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, channels))
        self.states: Tensor | None = None

    def keep(self, block: nn.Module, inputs: Any, states: Tensor) -> None:
        """A forward hook of the block."""
        self.states = states

    def forward(self) -> Float[Tensor, "b n e"]:
        """What P makes of the states, which it lets go of."""
        states, self.states = self.states, None
        assert states is not None, "the head has run"
        return self.project(states).float()  # type: ignore[no-any-return]


class Repa(FlowMatching):
    """Flow matching whose head is aligned with a frozen tower's tokens (REPA)."""

    phrase = "flow matching aligned with a frozen tower"

    class Config(FlowMatching.Config):
        """``tower``: an encoder on the target's grid; ``layer``: the head's block, from 1; ``weight``: of its loss."""

        tower: EncoderChoice = Field(default="clip", validate_default=True)
        layer: int = Field(2, ge=1)
        weight: float = Field(0.5, gt=0)

    config: Config

    @property
    def tower(self) -> EncoderChoice:
        return self.config.tower

    def equip(self, head: Head, target: LatentSpec, tower: LatentSpec) -> None:
        name = self.config.tower.name
        if target.grid != tower.grid:
            raise ValueError(
                f"objective=repa compares token by token, and objective.tower={name} has a grid of {tower.grid}, the "
                f"target one of {target.grid}: give both the same, as by objective.tower.grid"
            )
        blocks, width = list(layer_blocks(head)), getattr(getattr(head, "config", None), "width", None)
        if width is None or self.config.layer > len(blocks):
            raise ValueError(
                f"objective.layer={self.config.layer}, but {type(head).__name__} has {len(blocks)} blocks of one "
                "width: use head=dit and one of its layers"
            )
        head.for_training = alignment = Alignment(width, tower.channels)
        blocks[self.config.layer - 1].register_forward_hook(alignment.keep)

    def loss(
        self,
        head: Head,
        latents: Float[Tensor, "b n d"],
        conditions: Float[Tensor, "b q h"],
        noise: NoiseSource,
        keys: Sequence[str | int],
    ) -> Float[Tensor, ""]:
        alignment: Any = head.for_training
        channels = alignment.project[-1].out_features
        target, tokens = latents[..., :-channels], latents[..., -channels:]
        own = super().loss(head, target, conditions, noise, keys)
        return own + self.config.weight * cosine_distance(alignment(), tokens.float()).mean()
