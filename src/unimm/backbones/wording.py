"""The one place where prompts are worded: training and sampling both call these, so they cannot drift apart.

The wording follows the tokenizer: the scenes' own word-level one has short phrases, a pretrained checkpoint its chat
template and end of turn. Two traps that templates hold are closed for training and sampling alike. Llama 3's writes
today's date into the prompt, so that a model would be trained and asked on different ones: the date is fixed. Qwen3's
opens a place to think: it is told not to.
"""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

IMAGE = "<|image|>"
REQUEST = "Please generate an image based on the following caption: {caption}"
TEMPLATE_SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}


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


class ChatTokenizer:
    """A checkpoint's tokenizer with its chat template; ``placeholder`` is what the template has for an image.

    A language model without eyes has none: an unused token becomes its placeholder, whose embedding is never read.
    ``whole`` is the processor that the tokenizer is a part of, where there is one.
    """

    def __init__(self, tokenizer: Any, source: Path, placeholder: str | None = None, whole: Any = None) -> None:
        if not tokenizer.chat_template:
            raise ValueError(
                f"{source}: the tokenizer has no chat template (tokenizer_config.json or chat_template.jinja): give an "
                "instruction-tuned checkpoint, or save one with tokenizer.chat_template set"
            )
        if tokenizer.eos_token_id is None:
            raise ValueError(f"{source / 'tokenizer_config.json'} names no eos_token, which ends every answer; add it")
        self.sees = placeholder is not None
        self.placeholder = placeholder or IMAGE
        if not self.sees:
            tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
        self.inner, self.whole = tokenizer, whole or tokenizer
        self.image_id = int(tokenizer.convert_tokens_to_ids(self.placeholder))
        pad = tokenizer.pad_token_id
        # Padding is masked, so its id does not matter; Llama's tokenizer has none.
        self.pad_token_id = int(tokenizer.eos_token_id if pad is None else pad)

    def chat(self, content: Any, image_tokens: int = 0) -> list[int]:
        """Token ids of a user's turn, ending where the assistant's begins; one image grows to its placeholders."""
        text = self.inner.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **TEMPLATE_SETTINGS
        )
        if image_tokens:
            text = text.replace(self.placeholder, self.placeholder * image_tokens, 1)
        return self.inner(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    def question(self, question: str, image_tokens: int) -> list[int]:
        """Token ids of a question about an image."""
        if self.sees:
            return self.chat([{"type": "image"}, {"type": "text", "text": question}], image_tokens)
        return self.chat(f"{IMAGE}\n{question}", image_tokens)

    def answer(self, answer: str) -> list[int]:
        """Token ids of an answer and the end of its turn."""
        return [*self.inner(answer, add_special_tokens=False)["input_ids"], int(self.inner.eos_token_id)]

    @property
    def unk_token_id(self) -> int | None:
        """What unknown words become; None for byte-level vocabularies."""
        return self.inner.unk_token_id  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self.inner(*arguments, **settings)

    def save_pretrained(self, folder: Path) -> None:
        """Write tokenizer and chat template, or the whole processor, as `transformers` does."""
        self.whole.save_pretrained(folder)


@image_id.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer) -> int:
    return tokenizer.image_id


@generation_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, caption: str) -> list[int]:
    return tokenizer.chat(REQUEST.format(caption=caption))


@question_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, question: str, image_tokens: int) -> list[int]:
    return tokenizer.question(question, image_tokens)


@answer_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, answer: str) -> list[int]:
    return tokenizer.answer(answer)
