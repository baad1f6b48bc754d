"""An SDXL-shaped UNet as the network of a diffusion decoder, conditioned on image tokens as in Emu2.

Emu2 (arXiv 2312.13286), whose decoder BLIP3-o uses, puts the 64 x 1792 tokens where SDXL has its text: they are
attended to, and their mean takes the place of the pooled text beside SDXL's six size conditions. Sizes default to
SDXL's. Differences to Emu2's weights: it predicts the velocity of a straight path, not the noise of a DDPM.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head

SIZE_CHANNELS = 256


class UNetHead(Head):
    """SDXL's UNet (`diffusers` UNet2DConditionModel) on a latent grid, attending to condition tokens."""

    class Config(ComponentConfig):
        """``channels``: of every level; ``transformer_layers``: of every level (0: convolutions only).

        ``head_channels``: channels of an attention head; ``layers_per_block``: residual blocks of a level;
        ``norm_groups``: groups of the normalisation, which divide every level's channels.
        """

        channels: tuple[int, ...] = (320, 640, 1280)
        transformer_layers: tuple[int, ...] = (0, 2, 10)
        head_channels: int = Field(64, ge=1)
        layers_per_block: int = Field(2, ge=1)
        norm_groups: int = Field(32, ge=1)

        @model_validator(mode="after")
        def _fits(self) -> UNetHead.Config:
            if len(self.channels) != len(self.transformer_layers):
                raise ValueError("channels and transformer_layers need one entry a level each")
            for width in self.channels:
                if width % self.norm_groups or width % self.head_channels:
                    raise ValueError(
                        f"channels {width} must be a multiple of norm_groups {self.norm_groups} and of head_channels "
                        f"{self.head_channels}"
                    )
            return self

    def __init__(self, config: Config, channels: int, grid: tuple[int, int], condition_channels: int) -> None:
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.config, self.channels, self.grid = config, channels, grid
        self.condition_channels = condition_channels
        halvings = len(config.channels) - 1
        if grid[0] % 2**halvings:
            raise ValueError(
                f"a UNet of {len(config.channels)} levels halves its grid {halvings} times, so a grid of "
                f"{grid[0]} x {grid[1]} latents does not do: use fewer levels, or a multiple of {2**halvings}"
            )
        attends = [layers > 0 for layers in config.transformer_layers]
        self.model = UNet2DConditionModel(
            sample_size=grid[0],
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.channels,
            layers_per_block=config.layers_per_block,
            down_block_types=tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attends),
            up_block_types=tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attends)),
            transformer_layers_per_block=tuple(max(layers, 1) for layers in config.transformer_layers),
            attention_head_dim=tuple(width // config.head_channels for width in config.channels),
            cross_attention_dim=condition_channels,
            norm_num_groups=config.norm_groups,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=SIZE_CHANNELS,
            projection_class_embeddings_input_dim=6 * SIZE_CHANNELS + condition_channels,
        )

    def forward(
        self, noisy: Float[Tensor, "b n d"], time: Float[Tensor, " b"], conditions: Float[Tensor, "b q h"]
    ) -> Float[Tensor, "b n d"]:
        grid = noisy.transpose(1, 2).reshape(len(noisy), -1, *self.grid)
        output: Tensor = self.model(  # type: ignore[operator]
            grid,
            time * 1000,
            encoder_hidden_states=conditions,
            added_cond_kwargs={"text_embeds": conditions.mean(dim=1), "time_ids": self._sizes(conditions)},
            return_dict=False,
        )[0]
        return output.flatten(2).transpose(1, 2)

    def _sizes(self, conditions: Float[Tensor, "b q h"]) -> Float[Tensor, "b 6"]:
        """SDXL's original size, crop and target size: the grid itself, uncropped."""
        rows, columns = self.grid
        values: Any = [rows, columns, 0, 0, rows, columns]
        return torch.tensor([values] * len(conditions), device=conditions.device, dtype=conditions.dtype)
