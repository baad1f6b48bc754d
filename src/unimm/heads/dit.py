"""The paper's head: `diffusers` LuminaNextDiT2DModel (sandwich norm, 2-D RoPE, cross-attention with a tanh gate,
and the pooled condition added to the time embedding).

``aligned_channels`` serves the diffusion decoder, whose conditions lie on the same grid as its latents: they are
concatenated to the input channels as well as attended to.

Attention goes through a processor of our own, the library's seam for that. It gives the library's numbers to the bit,
but lets `torch.compile` fuse the rotary embedding, and asks for no masks, as here nothing is masked. Keys and values of
the conditions are the same at every step of a sampler, so that `DiffusionTransformer.given` computes them once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from unimm.component_config import ComponentConfig
from unimm.components import Head


def turned(channels: Float[Tensor, "b n a d"], rotary: Float[Tensor, "1 n d/2 2"]) -> Float[Tensor, "b n a d"]:
    """Rotary embedding: each pair of channels (x, y) becomes (x cos - y sin, x sin + y cos) of its angle.

    That is one product of complex numbers, which `torch.compile` leaves out of its kernels. In real ones, which lie two
    apart, it takes eleven times as long where nothing is compiled.
    """
    pairs = channels.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (cos, sin), (x, y) = rotary[:, :, None].unbind(-1), pairs.unbind(-1)
        after = torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
    else:
        after = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotary)[:, :, None])
    return after.flatten(-2).type_as(channels)


KeysValues = tuple[Float[Tensor, "b q parts size"], Float[Tensor, "b q parts size"]]


def keys_and_values(attn: Any, attended: Float[Tensor, "b q c"]) -> KeysValues:
    """Of what an attention layer attends to, by head, before any rotation."""
    key, value = attn.norm_k(attn.to_k(attended)), attn.to_v(attended)
    return key.unflatten(-1, (attn.heads, -1)), value.unflatten(-1, (attn.heads, -1))


class RealRotaryAttention:
    """The attention of `diffusers`' LuminaAttnProcessor2_0 for equally many query and value heads, without masks.

    ``layer`` is the number of a layer that attends to conditions; its keys and values are taken from ``known``, which
    has those of every layer, where the call gives them.
    """

    def __init__(self, layer: int | None = None) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "b n h"],
        encoder_hidden_states: Float[Tensor, "b m c"],
        attention_mask: Any = None,
        query_rotary_emb: Tensor | None = None,
        key_rotary_emb: Tensor | None = None,
        known: Sequence[KeysValues] | None = None,
    ) -> Float[Tensor, "b n a d"]:
        """Values gathered by each head; the mask is all ones, as every token and condition counts."""
        assert query_rotary_emb is not None
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(-1, (attn.heads, -1))
        if known is None or self.layer is None:
            key, value = keys_and_values(attn, encoder_hidden_states)
        else:
            key, value = known[self.layer]
        query = turned(query, query_rotary_emb)
        if key_rotary_emb is not None:
            key = turned(key, key_rotary_emb)
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


class DiffusionTransformer(Head):
    """A Lumina-Next diffusion transformer on a small token grid."""

    class Config(ComponentConfig):
        """Sizes; the paper's ablation has width 1792, 24 layers, 28 heads, the last two settings 256 and true.

        ``width``: channels of a token; ``layers``: transformer blocks; ``heads``: attention heads of a block.
        ``ffn_multiple``: the feed-forward width, 8/3 of ``width``, is rounded up to a multiple of it.
        ``project_conditions``: a two-layer perceptron brings the conditions to ``width`` before anything reads them.
        """

        width: int = Field(192, ge=8)
        layers: int = Field(4, ge=1)
        heads: int = Field(4, ge=1)
        ffn_multiple: int = Field(64, ge=1)
        project_conditions: bool = False

        @model_validator(mode="after")
        def _divides(self) -> DiffusionTransformer.Config:
            if self.width % (4 * self.heads):
                raise ValueError(f"width {self.width} must be a multiple of 4 x heads = {4 * self.heads} (2-D RoPE)")
            return self

    rotary: Tensor

    def __init__(
        self,
        config: Config,
        channels: int,
        grid: tuple[int, int],
        condition_channels: int,
        aligned_channels: int = 0,
    ) -> None:
        # Here, because the import takes seconds and checking a configuration needs none of it.
        from diffusers.models.embeddings import PixArtAlphaTextProjection, get_2d_rotary_pos_embed_lumina
        from diffusers.models.transformers.lumina_nextdit2d import LuminaNextDiT2DModel

        super().__init__()
        self.config, self.condition_channels = config, condition_channels
        self.channels, self.grid, self.aligned = channels, grid, aligned_channels > 0
        self.model = LuminaNextDiT2DModel(
            sample_size=grid[0],
            patch_size=1,
            in_channels=channels + aligned_channels,
            hidden_size=config.width,
            num_layers=config.layers,
            num_attention_heads=config.heads,
            num_kv_heads=config.heads,
            multiple_of=config.ffn_multiple,
            learn_sigma=False,
            qk_norm=True,
            cross_attention_dim=config.width if config.project_conditions else condition_channels,
        )
        for number, layer in enumerate(self.model.layers):
            layer.attn1.set_processor(RealRotaryAttention())
            layer.attn2.set_processor(RealRotaryAttention(number))
        self.projection = (
            PixArtAlphaTextProjection(condition_channels, config.width)
            if config.project_conditions
            else torch.nn.Identity()
        )
        # The library's forward never reads this parameter and leaves its memory as it found it.
        torch.nn.init.zeros_(self.model.pad_token).requires_grad_(False)
        rotary = get_2d_rotary_pos_embed_lumina(config.width // config.heads, *grid)
        self.register_buffer("rotary", torch.view_as_real(rotary), persistent=False)

    def given(self, conditions: Float[Tensor, "b q h"]) -> Callable[[Tensor, Tensor], Tensor]:
        told = self.projection(conditions)
        known = [keys_and_values(layer.attn2, layer.norm1_context(told)) for layer in self.model.layers]
        return lambda noisy, time: self(noisy, time, conditions, known)

    def forward(
        self,
        noisy: Float[Tensor, "b n d"],
        time: Float[Tensor, " b"],
        conditions: Float[Tensor, "b q h"],
        known: Sequence[KeysValues] | None = None,
    ) -> Float[Tensor, "b n d"]:
        tokens = torch.cat([noisy, conditions], dim=-1) if self.aligned else noisy
        grid = tokens.transpose(1, 2).reshape(len(tokens), -1, *self.grid)
        mask = torch.ones(conditions.shape[:2], dtype=torch.bool, device=conditions.device)
        output = self.model(
            hidden_states=grid,
            timestep=time * 1000,
            encoder_hidden_states=self.projection(conditions),
            encoder_mask=mask,
            image_rotary_emb=self.rotary,
            cross_attention_kwargs={} if known is None else {"known": known},
            return_dict=False,
        )[0]
        return output[:, : self.channels].flatten(2).transpose(1, 2)  # type: ignore[no-any-return]
