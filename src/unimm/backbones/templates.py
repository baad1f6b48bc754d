"""The one place where prompts are worded: training and sampling both call these, so they cannot drift apart."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

IMAGE = "<|image|>"


def generation_ids(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[int]:
    """Token ids of a request to draw ``caption``, ending where the queries follow."""
    return _chat(tokenizer, f"generate : {caption}")


def question_ids(tokenizer: PreTrainedTokenizerFast, question: str, image_tokens: int) -> list[int]:
    """Token ids of a question about an image (``image_tokens`` placeholders), ending where the answer follows."""
    return _chat(tokenizer, " ".join([*[IMAGE] * image_tokens, question]))


def reading_ids(tokenizer: PreTrainedTokenizerFast, caption: str, question: str) -> list[int]:
    """Token ids of a question about a caption instead of an image."""
    return _chat(tokenizer, f"{caption} {question}")


def answer_ids(tokenizer: PreTrainedTokenizerFast, answer: str) -> list[int]:
    """Token ids of the assistant's answer with its end mark."""
    return tokenizer(f"{answer} <|im_end|>", add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


def _chat(tokenizer: PreTrainedTokenizerFast, content: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]
