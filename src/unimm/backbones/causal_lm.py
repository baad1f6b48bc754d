"""A `transformers` causal language model with learnable queries after the prompt, which also sees images.

As in BLIP3-o and MetaQuery: Q query embeddings follow the prompt; one causal pass; their last hidden states are the
conditions of the head. Images enter as CLIP tokens through a two-layer projector at placeholder positions.

The pass is causal, so the prompt's states do not depend on the queries: where the language model is frozen, the prompt
runs first without gradients and the queries attend to its cached keys and values. The numbers are the same; the
backward pass then visits Q positions instead of the whole sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerFast

from unimm.backbones.templates import IMAGE
from unimm.component_config import ComponentConfig


class Inputs(NamedTuple):
    """A left-padded batch: token ids, their mask, and the image tokens that replace placeholders (or None)."""

    ids: Int[Tensor, "b l"]
    mask: Bool[Tensor, "b l"]
    images: Float[Tensor, "b n d"] | None = None

    def to(self, device: torch.device) -> Inputs:
        """The batch on a device."""
        return Inputs(*(None if x is None else x.to(device) for x in self))  # type: ignore[arg-type]


class Hidden(NamedTuple):
    """What a pass returns: query states (when queries were appended) or logits (when they were not)."""

    query_states: Float[Tensor, "b q h"] | None
    logits: Float[Tensor, "b l v"] | None


def pad_left(rows: list[list[int]], pad: int) -> Inputs:
    """Rows of ids as one left-padded batch."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return Inputs(ids, mask)


class CausalLM(nn.Module):
    """Language model, image projector and queries."""

    class Config(ComponentConfig):
        """``queries``: how many learnable query tokens follow the prompt."""

        queries: int = Field(16, ge=1)

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerFast,
        image_channels: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.image_id = tokenizer.get_vocab()[IMAGE]
        width = int(self.embeddings.weight.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projector = nn.Sequential(nn.Linear(image_channels, width), nn.GELU(), nn.Linear(width, width))
        self.queries = nn.Parameter(torch.empty(config.queries, width))
        self.reset_queries(seed)

    def reset_queries(self, seed: int) -> None:
        """Fresh queries at the scale of the token embeddings, which must be loaded first."""
        normal = torch.randn(self.queries.shape, generator=torch.Generator().manual_seed(seed))
        self.queries.data = normal * self.embeddings.weight.detach().std()

    @property
    def embeddings(self) -> nn.Embedding:
        """The language model's input embedding."""
        return self.model.get_input_embeddings()  # type: ignore[no-any-return,operator]

    @property
    def width(self) -> int:
        """Channels H of the conditions."""
        return int(self.queries.shape[1])

    def core_parameters(self) -> list[nn.Parameter]:
        """Everything but the queries: what `sequential` freezes."""
        return [p for name, p in self.named_parameters() if name != "queries"]

    def forward(self, inputs: Inputs, with_queries: bool) -> Hidden:
        """Query states with ``with_queries``, else next-token logits; the language-model head runs only for those."""
        embedded = self.embeddings(inputs.ids)
        if inputs.images is not None:
            places = inputs.ids == self.image_id
            projected = self.projector(inputs.images.to(embedded.dtype)).flatten(0, 1)
            embedded = embedded.masked_scatter(places[..., None], projected)
        if not with_queries:
            states = self._decode(embedded, inputs.mask)[0]
            return Hidden(None, self.model.lm_head(states))  # type: ignore[operator]
        batch, queries = len(embedded), self.queries.shape[0]
        appended = self.queries.to(embedded.dtype).repeat(batch, 1, 1)
        mask = torch.cat([inputs.mask, inputs.mask.new_ones(batch, queries)], dim=1)
        if any(p.requires_grad for p in self.core_parameters()):
            states, _ = self._decode(torch.cat([embedded, appended], dim=1), mask)
        else:
            with torch.no_grad():
                _, prompt = self._decode(embedded, inputs.mask, cache=True)
            states, _ = self._decode(appended, mask, prompt)
        return Hidden(states[:, -queries:], None)

    def _decode(
        self,
        embedded: Float[Tensor, "b l h"],
        mask: Bool[Tensor, "b all"],
        past: DynamicCache | None = None,
        cache: bool = False,
    ) -> tuple[Float[Tensor, "b l h"], DynamicCache | None]:
        """Last hidden states of the final l of all positions (``past`` holds the others), and the cache if asked."""
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -embedded.shape[1] :]
        output = self.model.model(  # type: ignore[operator]
            inputs_embeds=embedded,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=past,
            use_cache=cache or past is not None,
        )
        return output.last_hidden_state, output.past_key_values


def conditions_of(backbone: CausalLM, prompts: list[list[int]]) -> Float[Tensor, "b q h"]:
    """Query states of prompt ids: the only path from a prompt to conditions, in training and in sampling."""
    ids, mask, _ = pad_left(prompts, int(backbone.tokenizer.pad_token_id))
    states: Tensor | None = backbone(Inputs(ids, mask).to(backbone.queries.device), with_queries=True).query_states
    assert states is not None
    return states
