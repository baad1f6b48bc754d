"""The one place where prompts are worded: training and sampling both call these, so they cannot drift apart.

The wording follows the tokenizer: the scenes' own word-level one here, the chat templates of pretrained checkpoints in
`unimm.backbones.chat`, which registers itself with the same functions.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

IMAGE = "<|image|>"


@singledispatch
def image_id(tokenizer: Any) -> int:
    """The id of the placeholder that an image token takes the place of."""
    return int(tokenizer.get_vocab()[IMAGE])


@singledispatch
def generation_ids(tokenizer: Any, caption: str) -> list[int]:
    """Token ids of a request to draw ``caption``, ending where the queries follow."""
    return _chat(tokenizer, f"generate : {caption}")


@singledispatch
def question_ids(tokenizer: Any, question: str, image_tokens: int) -> list[int]:
    """Token ids of a question about an image (``image_tokens`` placeholders), ending where the answer follows."""
    return _chat(tokenizer, " ".join([*[IMAGE] * image_tokens, question]))


def reading_ids(tokenizer: Any, caption: str, question: str) -> list[int]:
    """Token ids of a question about a caption instead of an image."""
    return _chat(tokenizer, f"{caption} {question}")


@singledispatch
def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """Token ids of the assistant's answer with its end mark."""
    return tokenizer(f"{answer} <|im_end|>", add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def _chat(tokenizer: Any, content: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]
