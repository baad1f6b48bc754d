"""The backbone describes test images in full, as it learned to in its understanding stage: greedy, with a cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, Inputs, pad_left
from unimm.backbones.templates import question_ids
from unimm.scenes.world import Scene

REQUEST = "describe the image ."
LONGEST = 110  # tokens; the longest true descriptions have about 100


class Described(NamedTuple):
    """What the backbone wrote about an image, and the scene that the image shows."""

    text: str
    scene: Scene


@torch.inference_mode()
def describe(backbone: CausalLM, tokens: Float[Tensor, "m n d"]) -> list[str]:
    """A description of each image, given as image tokens."""
    tokenizer, device = backbone.tokenizer, backbone.queries.device
    rows = [question_ids(tokenizer, REQUEST, tokens.shape[1])] * len(tokens)
    ids, mask, _ = pad_left(rows, int(tokenizer.pad_token_id))
    inputs = Inputs(ids, mask, tokens).to(device)
    written = backbone.language_model().generate(
        inputs_embeds=backbone.embed(inputs),
        attention_mask=inputs.mask.long(),
        max_new_tokens=LONGEST,
        do_sample=False,
        use_cache=True,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=int(tokenizer.pad_token_id),
    )
    return list(tokenizer.batch_decode(written, skip_special_tokens=True))
