"""A `transformers` causal language model with learnable queries after the prompt, which also sees images.

As in BLIP3-o and MetaQuery: Q query embeddings follow the prompt; one causal pass; their last hidden states are the
conditions of the head. Images enter as CLIP tokens through a two-layer projector at placeholder positions.

The pass is causal, so the prompt's states do not depend on the queries: where the language model is frozen, the prompt
runs first without gradients and the queries attend to its cached keys and values. The numbers are the same; the
backward pass then visits Q positions instead of the whole sequence. Prompts that come again and again need not even
run: `CausalLM.remember` keeps their keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from unimm.backbones.conditions import Conditioning, blank, check_layer, statistics_of
from unimm.backbones.literal import dropped
from unimm.backbones.lora import adapter_parameters, add_adapters, merged
from unimm.backbones.prompt_states import PromptStates, prompt_states
from unimm.backbones.wording import image_id
from unimm.components import Backbone, Encoder, Hidden, Inputs, Lora, weights_hash
from unimm.encoders.calibrated import shipped
from unimm.encoders.clip import Clip
from unimm.foundation.folder import Foundation

# The `DynamicCache` that the model makes and takes; its class would import transformers with every command.
KeysAndValues = Any
MEASURED_AT_ONCE = 32  # prompts
SCALE_MEASURED = 64  # tokens, spread over the vocabulary


def pad_left(rows: list[list[int]], pad: int) -> Inputs:
    """Rows of ids as one left-padded batch."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    return Inputs(ids, mask)


def positions_of(mask: Bool[Tensor, "b l"]) -> Int[Tensor, "b l"]:
    """Positions that count from the first token that is no padding."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def embedded_scale(embeddings: nn.Embedding) -> Tensor:
    """The standard deviation over all components of embedded tokens, which is not that of the weights where the module
    scales what it looks up, as Gemma's does by the root of the width."""
    weight = embeddings.weight.detach()
    some = torch.linspace(0, len(weight) - 1, SCALE_MEASURED).long().to(weight.device)
    with torch.no_grad():
        embedded, looked_up = (rows.float().std() for rows in (embeddings(some), weight[some]))
    return weight.float().std() * (embedded / looked_up)


def _cache_of(states: Float[Tensor, "layers 2 b heads l d"]) -> KeysAndValues:
    """Keys and values as the model takes them."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(states):
        cache.update(keys, values, number)
    return cache


def build_language_model(config: dict[str, Any], vocabulary: int) -> nn.Module:
    """A Qwen3 causal language model with fresh weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**config, vocab_size=vocabulary, use_cache=False))


class CausalLM(Backbone):
    """Language model, image projector and queries; the foundation's, which its stages have taught."""

    of_foundation: ClassVar[bool] = True

    class Config(Conditioning):
        """``queries``: how many learnable query tokens follow the prompt.

        ``weights``: as its stages trained them, or random ones of the same architecture, drawn by the seed: a control
        of what the training of the backbone is worth.
        """

        queries: int = Field(16, ge=1)
        weights: Literal["trained", "random"] = "trained"

    def __init__(
        self,
        config: Any,
        model: nn.Module,
        tokenizer: Any,
        image_channels: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.image_channels = image_channels
        self.image_id = image_id(tokenizer)
        width = int(self.embeddings.weight.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projector = self.build_projector(image_channels, width)
        self.queries = nn.Parameter(torch.empty(config.queries, width))
        self.reset_queries(seed)
        check_layer(config.layer, model)
        self.condition_statistics = blank(config.queries, width) if config.standardise else None
        self.known: PromptStates | None = None

    @classmethod
    def build(cls, config: Any, foundation: Foundation, encoder: Encoder, start: str, seed: int) -> CausalLM:
        """The foundation's after the stage ``start`` (``language`` or ``understanding``), with fresh queries."""
        tokenizer = foundation.tokenizer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_language_model(foundation.settings("language/config.json"), len(tokenizer))
        channels = shipped(foundation, "clip").mean.numel()
        backbone = cls(config, model, tokenizer, channels, seed)
        if config.weights == "random":
            return backbone
        weights = foundation.weights(f"{start}/model.safetensors")
        missing, unexpected = backbone.load_state_dict(weights, strict=False)
        backbone.reset_queries(seed)
        assert not unexpected and all(
            k.startswith(("queries", "projector", "model.lm_head", "condition_statistics")) for k in missing
        )
        return backbone

    @classmethod
    def restore(cls, config: Any, model: Path, tokenizer: Path, image_channels: int) -> CausalLM:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        saved = AutoModelForCausalLM.from_pretrained(model, use_safetensors=True)
        return cls(config, saved, AutoTokenizer.from_pretrained(tokenizer), image_channels, seed=0)

    def language_model(self) -> Any:
        return merged(self.model) if adapter_parameters(self.model) else self.model

    def image_encoder(self, foundation: Foundation, encoder: Encoder) -> Encoder:
        """The foundation's CLIP, whatever the arm's target is."""
        return Clip.build(Clip.Config(grid=foundation.card["grid"]), foundation)

    def understands(self, start: str) -> bool:
        return start == "understanding" and self.config.weights == "trained"

    def build_projector(self, image_channels: int, width: int) -> nn.Module:
        """From image tokens to embeddings."""
        return nn.Sequential(nn.Linear(image_channels, width), nn.GELU(), nn.Linear(width, width))

    def reset_queries(self, seed: int) -> None:
        """Fresh queries at the scale of the token embeddings, which must be loaded first."""
        normal = torch.randn(self.queries.shape, generator=torch.Generator().manual_seed(seed))
        self.queries.data = normal * embedded_scale(self.embeddings)

    @property
    def embeddings(self) -> nn.Embedding:
        """The language model's input embedding."""
        return self.model.get_input_embeddings()  # type: ignore[no-any-return,operator]

    @property
    def width(self) -> int:
        return int(self.queries.shape[1])

    def adapt(self, adapters: Lora, seed: int) -> None:
        self.model.requires_grad_(False)
        add_adapters(self.model, adapters, seed, owner="strategy")

    def core_parameters(self) -> list[nn.Parameter]:
        """What a strategy trains or freezes: all but the queries; of an adapted model, its adapters."""
        adapters = adapter_parameters(self.model)
        if adapters:
            return [*adapters, *self.projector.parameters()]
        return [p for name, p in self.named_parameters() if name != "queries"]

    def forward(self, inputs: Inputs, with_queries: bool, last: int = 0) -> Hidden:
        """Query states with ``with_queries``, else next-token logits; the language-model head runs only for those.

        ``last``: how many final positions' logits are wanted, 0 for all.
        """
        if not with_queries:
            return Hidden(None, self.logits(inputs, last))
        return Hidden(self.query_states(inputs, any(p.requires_grad for p in self.core_parameters())), None)

    def query_states(self, inputs: Inputs, in_one_pass: bool) -> Float[Tensor, "b q h"]:
        """The configured layer's states of the queries, standardised where the configuration says so; in one pass with
        the prompt or in one of their own after it."""
        batch, queries = len(inputs.ids), self.queries.shape[0]
        appended = self.queries.to(self.embeddings.weight.dtype).repeat(batch, 1, 1)
        mask = torch.cat([inputs.mask, inputs.mask.new_ones(batch, queries)], dim=1)
        if in_one_pass:
            states, _ = self._decode(torch.cat([self.embed(inputs), appended], dim=1), mask, layer=self.config.layer)
        elif inputs.states is None:
            with torch.no_grad():
                _, prompt = self._decode(self.embed(inputs), inputs.mask, cache=True)
            states, _ = self._decode(appended, mask, prompt, layer=self.config.layer)
        else:
            states = self._after(inputs.states, appended, mask)
        own = states[:, -queries:].float()
        return own if self.condition_statistics is None else self.condition_statistics.standardise(own)

    def _after(
        self, states: Float[Tensor, "layers 2 b heads l d"], appended: Float[Tensor, "b q h"], mask: Bool[Tensor, "b a"]
    ) -> Float[Tensor, "b q h"]:
        """The queries' pass after prompts whose keys and values are known."""
        kind = states.device.type
        if torch.is_autocast_enabled(kind):  # a pass would give them in its type
            states = states.to(torch.get_autocast_dtype(kind))
        return self._decode(appended, mask, _cache_of(states), layer=self.config.layer)[0]

    def compile(self, *arguments: Any, **settings: Any) -> None:
        """As `torch.nn.Module.compile`, but only the queries' pass after known prompts: nearly all prompts of a batch
        have one length, where other passes differ from step to step."""
        self._after = torch.compile(self._after, *arguments, **settings)  # type: ignore[method-assign]

    def remember(self, prompts: Sequence[list[int]], device: torch.device) -> None:
        """Keep keys and values of prompts; a model that keeps anything else (a window, a state) runs them as before."""
        self.to(device)
        layers = self._keys_and_values(torch.tensor([prompts[0]], device=device), None).layers
        if any(type(layer).__name__ != "DynamicLayer" for layer in layers):
            return
        token_bytes = sum(part[0, :, 0].nbytes for layer in layers for part in (layer.keys, layer.values))
        of_model: Any = self.model.config
        settings = {key: value for key, value in of_model.to_dict().items() if key != "_name_or_path"}

        def run(ids: Int[Tensor, "b l"], past: Tensor | None) -> Tensor:
            found = self._keys_and_values(ids.to(device), None if past is None else past.to(device))
            return torch.stack([torch.stack([layer.keys, layer.values]) for layer in found.layers])

        name = f"{type(self.model).__name__}/{self.embeddings.weight.dtype}/{settings}/{weights_hash(self.model)}"
        self.known = prompt_states(name, prompts, run, token_bytes)

    @torch.no_grad()
    def _keys_and_values(self, ids: Int[Tensor, "b l"], past: Tensor | None) -> KeysAndValues:
        """The cache of unpadded ids after a ``past``."""
        length = ids.shape[1] + (0 if past is None else past.shape[-2])
        mask = torch.ones(len(ids), length, dtype=torch.bool, device=ids.device)
        return self._decode(self.embeddings(ids), mask, None if past is None else _cache_of(past), cache=True)[1]

    def forget(self) -> None:
        self.known = None

    def recall(self, prompts: Sequence[list[int]]) -> Tensor | None:
        if self.known is None:
            return None
        assert not any(p.requires_grad for p in self.core_parameters()), "a backbone that trains has no fixed states"
        return self.known.batch(prompts)

    def embed(self, inputs: Inputs) -> Float[Tensor, "b l h"]:
        """Image tokens go through the projector."""
        places = inputs.ids == self.image_id
        # A placeholder may lie beyond the embedding: its own embedding is never read.
        embedded: Tensor = self.embeddings(inputs.ids.masked_fill(places, 0))
        if inputs.images is None:
            return embedded
        projected = self.projector(inputs.images).to(embedded.dtype).flatten(0, 1)
        return embedded.masked_scatter(places[..., None], projected)

    def logits(self, inputs: Inputs, last: int) -> Float[Tensor, "b k v"]:
        """Next-token logits of the ``last`` positions of a sequence, or of all."""
        states = self._decode(self.embed(inputs), inputs.mask)[0]
        return self.model.lm_head(states[:, -last:])  # type: ignore[no-any-return,operator]

    def _decode(
        self,
        embedded: Float[Tensor, "b l h"],
        mask: Bool[Tensor, "b all"],
        past: KeysAndValues = None,
        cache: bool = False,
        layer: int = -1,
    ) -> tuple[Float[Tensor, "b l h"], KeysAndValues]:
        """A layer's states of the final l of all positions (``past`` holds the others), and the cache if asked."""
        positions = positions_of(mask)[:, -embedded.shape[1] :]
        output = self.model.base_model(  # type: ignore[operator]
            inputs_embeds=embedded,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=past,
            use_cache=cache or past is not None,
            output_hidden_states=layer != -1,
        )
        states = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        return states, output.past_key_values


def conditions_of(backbone: Backbone, prompts: list[list[int]]) -> Float[Tensor, "b q h"]:
    """Query states of prompt ids: the only path from a prompt to conditions, in training and in sampling."""
    inputs = pad_left(prompts, int(backbone.tokenizer.pad_token_id))._replace(states=backbone.recall(prompts))
    states: Tensor | None = backbone(inputs.to(backbone.queries.device), with_queries=True).query_states
    assert states is not None
    return states


@torch.no_grad()
def standardise_conditions(backbone: CausalLM, prompts: list[list[int]]) -> None:
    """Give a backbone the statistics of its query states over these prompts, in place of those that it has."""
    backbone.condition_statistics = None
    batches = [prompts[begin : begin + MEASURED_AT_ONCE] for begin in range(0, len(prompts), MEASURED_AT_ONCE)]
    backbone.condition_statistics = statistics_of(torch.cat([conditions_of(backbone, batch) for batch in batches]))


class Row(NamedTuple):
    """Token ids of a chat, and how many of its last ones the loss covers.

    ``dropped``: how many tokens of its question and answer were cut off; ``sample``: whose image it is about, if known;
    ``weight``: of each covered token in the loss; ``asides``: tokens of the last ones that it leaves out, such as a
    further question after the first answer, by their place among them.
    """

    ids: list[int]
    answer: int
    dropped: int = 0
    sample: str = ""
    weight: float = 1.0
    asides: tuple[int, ...] = ()

    @property
    def covered(self) -> int:
        """How many tokens the loss covers."""
        return self.answer - len(self.asides)

    def evenly(self) -> Row:
        """The row with a weight of 1 in all, however long its answer is."""
        return self._replace(weight=1 / self.covered)


def total_weight(rows: Iterable[Row]) -> float:
    """Of all covered tokens."""
    return sum((row.covered * row.weight for row in rows), 0.0)


def row(prompt: list[int], answer: list[int]) -> Row:
    """A prompt and its answer."""
    return Row([*prompt, *answer], len(answer), dropped(prompt) + dropped(answer))


def answer_loss(
    backbone: Backbone, rows: list[Row], images: Float[Tensor, "b n d"] | None, weight: float | None = None
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy of the covered tokens; ``weight`` is what to divide by where rows are part of a
    larger batch.

    ``images`` are those of the first rows; the rows after them are of text alone.

    Questions and descriptions differ several times in length, so each kind is padded and run by itself: the same mean
    over the same tokens, without most of the padding.
    """
    total = torch.zeros((), device=backbone.queries.device)
    for group in by_length(rows):
        seeing = [i for i in group if images is not None and i < len(images)]
        shown = images[torch.tensor(seeing)] if images is not None and seeing else None
        total = total + summed_loss(backbone, [rows[i] for i in group], shown)
    return total / (weight or total_weight(rows))


def by_length(rows: list[Row]) -> list[list[int]]:
    """Row numbers in at most two groups: those over twice as long as the shortest, and the others."""
    limit = 2 * min(len(r.ids) for r in rows)
    groups = [[i for i, r in enumerate(rows) if (len(r.ids) > limit) == long] for long in (False, True)]
    return [group for group in groups if group]


def summed_loss(backbone: Backbone, rows: list[Row], images: Float[Tensor, "b n d"] | None) -> Float[Tensor, ""]:
    """Weighted sum of the covered tokens' cross-entropy in one pass; rows are left-padded, so they are the last ones.

    Logits are computed from the position before the longest answer on: a vocabulary is large, and questions are long.
    """
    ids, mask = pad_left([r.ids for r in rows], int(backbone.tokenizer.pad_token_id))[:2]
    device = backbone.queries.device
    longest = max(r.answer for r in rows)
    logits = backbone(Inputs(ids, mask, images).to(device), with_queries=False, last=longest + 1).logits
    answers = torch.tensor([r.answer for r in rows])
    covered = torch.arange(longest)[None] >= longest - answers[:, None]
    for number, each in enumerate(rows):
        covered[number, [longest - each.answer + place for place in each.asides]] = False
    target = ids[:, -longest:].masked_fill(~covered, -100).to(device)
    flat, labels = logits[:, :-1].float().flatten(0, 1), target.flatten()
    by_token = F.cross_entropy(flat, labels, ignore_index=-100, reduction="none").view_as(target)
    return (by_token.sum(dim=1) * torch.tensor([r.weight for r in rows], device=device)).sum()
