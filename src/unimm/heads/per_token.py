"""Per-token diffusion: every token is denoised by itself, from its own noise and what the conditions say of its place.

MAR (arXiv 2406.11838) factorises an image's distribution by tokens, ``p(x | c) = prod p(x_n | z_n)``, with a small
perceptron that denoises a token given z_n. Here a transformer makes all z_n from the conditions alone, and the
perceptron reads (noisy token, time, z_n). With any objective along a path of noise this asks what tokens owe to seeing
each other while they are denoised: MAR's diffusion, without its autoregression over tokens, so that what the
conditions leave open is drawn for each token independently.

A residual block of the perceptron is ``h + gate * MLP(norm(h) (1 + scale) + shift)``, with gate, scale and shift linear
in ``silu(z_n + time)`` and 0 at first.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from unimm.components import Head
from unimm.heads.dit import DiffusionTransformer

FREQUENCIES = 256


class Block(nn.Module):
    """A residual perceptron whose norm and gate follow a token's context."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.context = nn.Linear(width, 3 * width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)

    def forward(self, states: Float[Tensor, "b n w"], context: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """The states after this block."""
        scale, shift, gate = self.context(context).chunk(3, dim=-1)
        return states + gate * self.inner(self.norm(states) * (1 + scale) + shift)  # type: ignore[no-any-return]


class PerTokenDiffusion(Head):
    """A perceptron that denoises each token by itself, given what a transformer makes of the conditions."""

    class Config(DiffusionTransformer.Config):
        """The transformer's sizes; ``blocks``: residual blocks of the perceptron, as wide as the transformer."""

        blocks: int = Field(3, ge=1)

    def __init__(self, config: Config, channels: int, grid: tuple[int, int], condition_channels: int) -> None:
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        super().__init__()
        self.config, self.width = config, config.width
        self.planner = DiffusionTransformer(config, config.width, grid, condition_channels)
        self.entry = nn.Linear(channels, config.width)
        self.frequencies = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, config.width)
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.blocks))
        self.exit = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, channels))

    def forward(
        self,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        conditions: Float[Tensor, "b q h"],
        plan: Float[Tensor, "b n w"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        plan = self.plan(conditions) if plan is None else plan
        told = self.time(self.frequencies(time * 1000).to(plan.dtype))
        context = nn.functional.silu(plan + told[:, None])
        states = self.entry(noisy)
        for block in self.blocks:
            states = block(states, context)
        return self.exit(states)  # type: ignore[no-any-return]

    def plan(self, conditions: Float[Tensor, "b q h"]) -> Float[Tensor, "b n w"]:
        """All z_n, which neither noise nor time changes."""
        rows, columns = self.planner.grid
        blank = conditions.new_zeros(len(conditions), rows * columns, self.width)
        return self.planner(blank, blank.new_zeros(len(blank)), conditions)  # type: ignore[no-any-return]

    def given(self, conditions: Float[Tensor, "b q h"]) -> Callable[[Tensor, Tensor], Tensor]:
        plan = self.plan(conditions)
        return lambda noisy, time: self(noisy, time, conditions, plan)
