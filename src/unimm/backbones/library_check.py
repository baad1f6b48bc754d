"""A pretrained backbone against its library: computed wrongly, it is refused where it is built.

`transformers` has hundreds of architectures, and unimm makes their prompts, positions, masks and image tokens itself.
An architecture that wants something else is not refused by anybody: its logits are those of another model. So every
checkpoint is asked one short question (a model with eyes about one picture, a grey ramp, so that no two patches are
alike) in the library's way and in ours, and read one prompt with queries behind it in one pass and in two:

    max |ours - library's| <= tolerance * max |library's|

Ours stands in a batch beside a longer one, so that it is padded, as in training. Four passes over a few dozen tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, pad_left
from unimm.backbones.wording import generation_ids, question_ids
from unimm.components import Inputs

QUESTION, LONGER = "what is this ?", "how many things are there to be seen in this picture ?"
# Different kernels round differently; a model that is computed wrongly is off by a tenth of the scale and more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2}


def ramp(side: int) -> Float[Tensor, "3 s s"]:
    """A picture in [0, 1] of which no two parts are alike."""
    line = torch.linspace(0, 1, side)
    return torch.stack([line.expand(side, side), line[:, None].expand(side, side), 0.5 * (line + line[:, None])])


def check_outputs(model: Any, source: Path) -> None:
    """ValueError for a model whose pass gives no last hidden states, or no keys and values to go on from.

    Recurrent models (Mamba, RWKV) keep a state of another kind, which queries after a cached prompt cannot attend to.
    """
    embedding = model.get_input_embeddings()
    ids = torch.arange(2, device=embedding.weight.device)[None]
    name = type(model).__name__
    try:
        with torch.no_grad():
            output = model.base_model(
                inputs_embeds=embedding(ids), attention_mask=torch.ones_like(ids), position_ids=ids, use_cache=True
            )
    except (TypeError, AttributeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"{source} is a {name}, which does not read embeddings with their mask and positions "
            f"({type(error).__name__}: {str(error).strip()}): use a causal language model with attention"
        ) from error
    missing = [part for part in ("last_hidden_state", "past_key_values") if getattr(output, part, None) is None]
    if missing:
        raise ValueError(
            f"{source} is a {name}, whose pass gives no {' and no '.join(missing)}: queries follow a prompt by its "
            "last hidden states and its cached keys and values; use a causal language model with attention"
        )


@torch.no_grad()
def check_against_library(backbone: CausalLM, source: Path) -> None:
    """ValueError where the backbone's logits or query states are not what its library computes."""
    tokenizer: Any = backbone.tokenizer
    model: Any = backbone.model
    eyes = getattr(backbone, "vision", ())
    if eyes:
        picture = ramp(eyes[0].config.resolution)
        expected = model(**asked_of_library(tokenizer, picture)).logits
        shown = eyes[0].encode(picture[None]).expand(2, -1, -1)
        rows = [question_ids(tokenizer, text, shown.shape[1]) for text in (QUESTION, LONGER)]
    else:
        rows, shown = [generation_ids(tokenizer, text) for text in (QUESTION, LONGER)], None
        expected = model(input_ids=torch.tensor(rows[:1])).logits
    ids, mask, _ = pad_left(rows, tokenizer.pad_token_id)
    found = backbone(Inputs(ids, mask, shown), with_queries=False).logits[:1, -expected.shape[1] :]
    _compare(backbone, source, "logits", found, expected)
    rows = [generation_ids(tokenizer, text) for text in (QUESTION, LONGER)]
    embedded = torch.cat([backbone.embeddings(torch.tensor(rows[0])), backbone.queries.to(model.dtype)])[None]
    places = torch.arange(embedded.shape[1])[None]
    whole = model.base_model(inputs_embeds=embedded, position_ids=places).last_hidden_state
    ids, mask, _ = pad_left(rows, tokenizer.pad_token_id)
    states = backbone.query_states(Inputs(ids, mask), in_one_pass=False)
    _compare(backbone, source, "query states", states[:1], whole[:, -len(backbone.queries) :])


def asked_of_library(tokenizer: Any, picture: Float[Tensor, "3 s s"]) -> dict[str, Tensor]:
    """The library's own inputs of the short question about the picture."""
    parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = tokenizer.rendered(parts)
    return dict(tokenizer.whole(text=[text], images=[picture], do_rescale=False, return_tensors="pt"))


def _compare(backbone: CausalLM, source: Path, what: str, found: Tensor, expected: Tensor) -> None:
    scale = float(expected.float().abs().max())
    off = float((found.float() - expected.float()).abs().max()) if found.shape == expected.shape else float("nan")
    if not off <= TOLERANCE[backbone.model.dtype] * scale:
        raise ValueError(
            f"{source}: unimm computes other {what} of {type(backbone.model).__name__} than transformers does (off by "
            f"{off:.2g} at a scale of {scale:.2g}): this architecture is not supported; use another checkpoint"
        )
