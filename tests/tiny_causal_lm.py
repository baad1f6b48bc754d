"""A tiny language model of the kind that foundations have, with random weights, as a backbone."""

from __future__ import annotations

from typing import Any

import torch

from unimm.backbones.causal_lm import CausalLM, build_language_model
from unimm.pretraining.tokenizer import build_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
IMAGE_CHANNELS = 6


def tiny_causal_lm(queries: int = 4, **sizes: Any) -> CausalLM:
    """The same weights in every call of the same ``sizes``."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_language_model({**SIZES, **sizes}, len(tokenizer))
    return CausalLM(CausalLM.Config(queries=queries), model, tokenizer, image_channels=IMAGE_CHANNELS, seed=0)
