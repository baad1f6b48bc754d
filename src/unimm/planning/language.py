"""Work and kept activations of a decoder-only language model, by formula from its configuration.

With n weights in its layers, a token costs 2 n FLOPs forward, 2 n more backward for its inputs' gradients and 2 n for
the weights'; attention of q on k tokens costs 4 q k w forward and 2.5 times that backward, w being the heads' summed
width. A frozen model runs its prompt forward only: the queries, which come last, attend to its cached keys and values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from unimm.evaluation.flops import weights
from unimm.planning.assumptions import KEPT_FEED_FORWARDS, KEPT_WIDTHS


class Decoder(NamedTuple):
    """Sizes of a language model's decoder; ``weights`` are those of its layers, ``vocabulary`` the output's size."""

    weights: int
    layers: int
    width: int
    attention_width: int
    feed_forward: int
    vocabulary: int

    @classmethod
    def of(cls, model: nn.Module) -> Decoder:
        """The sizes of a `transformers` model, the text part of one that also sees."""
        whole: Any = model
        config = whole.config.get_text_config()
        heads = config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
        layers = whole.get_decoder().layers
        return cls(
            weights=weights(layers),
            layers=len(layers),
            width=config.hidden_size,
            attention_width=heads * head_width,
            feed_forward=config.intermediate_size,
            vocabulary=config.vocab_size,
        )

    def forward(self, tokens: int, keys: int) -> int:
        """FLOPs of ``tokens`` that attend to ``keys`` tokens, themselves included; causality saves nothing."""
        return 2 * self.weights * tokens + 4 * self.layers * tokens * keys * self.attention_width

    def backward(self, tokens: int, keys: int, trained: bool) -> int:
        """FLOPs of the backward pass; only inputs get gradients where the model is not trained."""
        products = (4 if trained else 2) * self.weights * tokens
        return products + 10 * self.layers * tokens * keys * self.attention_width

    def output(self, tokens: int, trained: bool) -> int:
        """FLOPs of forward and backward pass of the output matrix."""
        return (6 if trained else 4) * self.width * self.vocabulary * tokens

    def kept_bytes(self, tokens: int) -> int:
        """Activations that the backward pass of ``tokens`` needs, in bytes at float32."""
        values = KEPT_WIDTHS * self.width + KEPT_FEED_FORWARDS * self.feed_forward
        return 4 * self.layers * tokens * values

    def kept_logits(self, tokens: int) -> int:
        """Bytes of the logits, their float32 copy and their logarithmic softmax, at float32."""
        return 12 * self.vocabulary * tokens
