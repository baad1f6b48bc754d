"""A pretrained backbone against its library: computed wrongly, it is refused where it is built.

`transformers` has hundreds of architectures, and unimm makes their prompts, positions, masks and image tokens itself.
An architecture that wants something else is not refused by anybody: its logits are those of another model. So every
checkpoint is asked one short question (a model with eyes about one picture, a ramp, so that no two patches are alike)
in the library's way and in ours, and reads one prompt with queries behind it in one pass and in two:

    max |ours - library's| <= tolerance * max |library's|

Ours stands in a batch beside a longer one, so that it is padded, as in training. Four passes over a few dozen tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unimm.backbones.causal_lm import CausalLM, pad_left
from unimm.backbones.own_vision import ramp
from unimm.backbones.wording import generation_ids, question_ids
from unimm.components import Inputs

QUESTION, LONGER = "what is this ?", "how many things are there to be seen in this picture ?"
# Different kernels round differently; a model that is computed wrongly is off by a tenth of the scale and more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2}


@runtime_checkable
class SeesItself(Protocol):
    """A backbone with a vision tower of its own."""

    vision: tuple[Any, ...]


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
    name = type(backbone.model).__name__
    for what, both in (("logits", _answers), ("query states", _query_states)):
        try:
            found, expected = both(backbone)
        except (TypeError, AttributeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
            raise ValueError(
                f"{source}: {name} cannot be asked in the way of other models ({type(error).__name__}: "
                f"{str(error).strip()}): this architecture is not supported; use another checkpoint"
            ) from error
        scale, off = (float(value.abs().max()) for value in (expected, found - expected))
        if not off <= TOLERANCE[backbone.model.dtype] * scale:  # type: ignore[index]
            raise ValueError(
                f"{source}: unimm computes other {what} of {name} than transformers does (off by {off:.2g} at a scale "
                f"of {scale:.2g}): this architecture is not supported; use another checkpoint"
            )


def _answers(backbone: CausalLM) -> tuple[Float[Tensor, "1 l v"], Float[Tensor, "1 l v"]]:
    """Logits of the short question, ours and the library's."""
    tokenizer, model = backbone.tokenizer, cast("Any", backbone.model)
    if isinstance(backbone, SeesItself):
        eyes = backbone.vision[0]
        picture = ramp(eyes.config.resolution)
        text = tokenizer.rendered([{"type": "image"}, {"type": "text", "text": QUESTION}])
        inputs = tokenizer.whole(text=[text], images=[picture], do_rescale=False, return_tensors="pt")
        expected = model(**inputs).logits.float()
        shown = eyes.encode(picture[None]).expand(2, -1, -1)
        rows = [question_ids(tokenizer, asked, shown.shape[1]) for asked in (QUESTION, LONGER)]
    else:
        rows, shown = [generation_ids(tokenizer, asked) for asked in (QUESTION, LONGER)], None
        expected = model(input_ids=torch.tensor(rows[:1])).logits.float()
    found = backbone(_padded(backbone, rows, shown), with_queries=False).logits.float()
    return found[:1, -expected.shape[1] :], expected


def _query_states(backbone: CausalLM) -> tuple[Float[Tensor, "1 q h"], Float[Tensor, "1 q h"]]:
    """States of the queries after the short prompt: in a pass of their own, and all in one pass of the library's."""
    rows = [generation_ids(backbone.tokenizer, asked) for asked in (QUESTION, LONGER)]
    prompt, model = backbone.embeddings(torch.tensor(rows[0])), cast("Any", backbone.model)
    embedded = torch.cat([prompt, backbone.queries.to(prompt.dtype)])[None]
    positions = torch.arange(embedded.shape[1])[None]
    output = model.base_model(inputs_embeds=embedded, position_ids=positions, output_hidden_states=True)
    whole = output.hidden_states[backbone.config.layer].float()
    states = backbone.query_states(_padded(backbone, rows, None), in_one_pass=False)
    return states[:1], whole[:, -len(backbone.queries) :]


def _padded(backbone: CausalLM, rows: list[list[int]], images: Tensor | None) -> Inputs:
    return pad_left(rows, int(backbone.tokenizer.pad_token_id))._replace(images=images)
