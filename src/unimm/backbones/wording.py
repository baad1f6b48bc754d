"""The one place where prompts are worded: training and sampling both call these, so they cannot drift apart.

The wording follows the tokenizer: the scenes' own word-level one has short phrases (here), a pretrained checkpoint its
chat template and end of turn (`unimm.backbones.chat`). What they put in is read as text, never as special tokens, and
bounded by tokens (`unimm.backbones.literal`).
"""

from __future__ import annotations

from functools import lru_cache, singledispatch
from typing import Any

from unimm.backbones.literal import ids_between, special_ids

IMAGE = "<|image|>"
SENTINEL = "qzcaptionzq"


@singledispatch
def image_id(tokenizer: Any) -> int:
    """The id of the placeholder that an image token takes the place of."""
    return int(tokenizer.get_vocab()[IMAGE])


@singledispatch
def generation_ids(tokenizer: Any, caption: str) -> list[int]:
    """Token ids of a request to draw ``caption``, ending where the queries follow."""
    return _chat(tokenizer, "generate : ", caption)


@singledispatch
def question_ids(tokenizer: Any, question: str, image_tokens: int) -> list[int]:
    """Token ids of a question about an image (``image_tokens`` placeholders), ending where the answer follows."""
    return _chat(tokenizer, f"{IMAGE} " * image_tokens, question)


def reading_ids(tokenizer: Any, caption: str, question: str) -> list[int]:
    """Token ids of a question about a caption instead of an image."""
    return _chat(tokenizer, "", f"{caption} {question}")


@singledispatch
def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of the assistant's answer with its end mark."""
    return ids_between(tokenizer, "", answer, " <|im_end|>", _marks(tokenizer))


def _chat(tokenizer: Any, lead: str, text: str) -> list[int]:
    before, after = _turn(tokenizer)
    return ids_between(tokenizer, before + lead, text, after, _marks(tokenizer))


@lru_cache(8)
def _turn(tokenizer: Any) -> tuple[str, str]:
    """What the template puts before and after a user's words."""
    before, _, after = tokenizer.apply_chat_template(
        [{"role": "user", "content": SENTINEL}], tokenize=False, add_generation_prompt=True
    ).partition(SENTINEL)
    return before, after


@lru_cache(8)
def _marks(tokenizer: Any) -> frozenset[int]:
    return special_ids(tokenizer)
