"""A checkpoint's tokenizer with its chat template, which words every prompt of a pretrained backbone.

Templates hold traps, which are closed here for training and sampling alike. Llama 3's writes today's date into the
prompt, so that a model would be trained and asked on different ones: the date is fixed. Qwen3's opens a place to think:
it is told not to. Those of many vision-language models render nothing of a text that is not given in parts, so that
every prompt would be the same: parts come first where there is a processor, and a template whose prompt does not hold
the text is refused.

A prompt is rendered once, around a word that stands for the text, when the checkpoint is read. What an image becomes
(its tokens, and whatever the model wants around them) is what the processor hands to its tokenizer for one picture.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from unimm.backbones.literal import LONGEST, Ids, ids_between, special_ids
from unimm.backbones.wording import IMAGE, SENTINEL, answer_ids, generation_ids, image_id, question_ids
from unimm.checkpoints import reading

REQUEST = "Please generate an image based on the following caption: "
TEMPLATE_SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}
TYPES = ("token_type_ids", "mm_token_type_ids")
TOKENIZER = "tokenizer_config.json"
FIX = "give an instruction-tuned checkpoint whose chat template holds what the user says"


class Limits(NamedTuple):
    """What a model can read: rows of its embedding, its positions (None: any number), and the queries that follow."""

    rows: int
    positions: int | None
    queries: int


class Eyes(NamedTuple):
    """A vision-language model's processor, a picture ``[3, s, s]`` of the side of all images, and the id of the tokens
    that an image's features take the place of."""

    processor: Any
    picture: Tensor
    image_id: int


class ChatTokenizer:
    """A checkpoint's tokenizer and template, and ``eyes`` where the model has some.

    A language model without eyes has no placeholder for image tokens: an unused token becomes it, whose embedding is
    never read. ``types`` are what a model with eyes wants to know of each token: by name of its argument, the number of
    every id whose number is not 0.

    Raises:
        ValueError: no template or one that does not hold the text, no end of an answer, tokens without embedding, or
            too few positions for the template.
    """

    def __init__(self, tokenizer: Any, source: Path, limits: Limits, eyes: Eyes | None = None) -> None:
        if eyes is not None:
            tokenizer.chat_template = eyes.processor.chat_template or tokenizer.chat_template
        else:
            tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
        _check(tokenizer, source, limits.rows)
        self.inner, self.source, self.limits = tokenizer, source, limits
        self.whole = tokenizer if eyes is None else eyes.processor
        self.sees = eyes is not None
        self.image_id = int(tokenizer.convert_tokens_to_ids(IMAGE)) if eyes is None else eyes.image_id
        pad = tokenizer.pad_token_id
        # Padding is masked, so its id does not matter; Llama's tokenizer has none, others' may have no embedding.
        self.pad_token_id = int(tokenizer.eos_token_id if pad is None or pad >= limits.rows else pad)
        self.types: dict[str, dict[int, int]] = {}
        text, parts = SENTINEL, [{"type": "text", "text": SENTINEL}]
        self.request = self._turn(*((parts, text) if self.sees else (text, parts)))
        self.asked = self.request
        if eyes is not None:
            lead, before, after = self._about_picture(eyes)
            self.asked = (before, after)
            self.request = (lead + self.request[0], self.request[1])
        self.marks = self._marks()
        self.answer_room = LONGEST if limits.positions is None else min(LONGEST, limits.positions // 4)
        self.generation("")
        if self.sees:
            self.question("", self.image_tokens)

    def generation(self, caption: str) -> Ids:
        """Token ids of a request to draw, ending where the queries follow."""
        before, after = self.request[0] + REQUEST, self.request[1]
        return self._worded(before, caption, after, self.limits.queries)

    def question(self, question: str, image_tokens: int) -> Ids:
        """Token ids of a question about an image, ending where the answer follows."""
        before, after = self.asked
        if self.sees:
            assert image_tokens == self.image_tokens, "all images have the tokens of the processor's picture"
        else:
            before += IMAGE * image_tokens + "\n"
        return self._worded(before, question, after, self.answer_room + 1)

    def answer(self, answer: str) -> Ids:
        """Token ids of an answer and the end of its turn."""
        ids = ids_between(self.inner, "", answer, "", self.marks, self.answer_room)
        return Ids.of([*ids, int(self.inner.eos_token_id)], ids.dropped)

    def _worded(self, before: str, text: str, after: str, following: int) -> Ids:
        """The prompt, bounded so that ``following`` positions are left; white space around the text is no part of it.

        Raises:
            ValueError: the template leaves no room for any text.
        """
        used, positions = _length(self.inner, before, after) + following, self.limits.positions
        if positions is not None and used >= positions:
            raise ValueError(
                f"{self.source}: the model has {positions} positions, and {used} go to the template, the image and "
                "what follows the prompt: set a smaller backbone.queries or a smaller image, or use another checkpoint"
            )
        room = LONGEST if positions is None else min(LONGEST, positions - used)
        return ids_between(self.inner, before, text.strip(), after, self.marks, room)

    def _turn(self, *contents: Any) -> tuple[str, str]:
        """What the template puts before and after the text in the first of ``contents`` that it renders with it."""
        made = [self.rendered(content) for content in contents]
        for prompt in made:
            if prompt.count(SENTINEL) == 1:
                before, _, after = prompt.partition(SENTINEL)
                return before, after
        raise ValueError(
            f"{self.source}: the chat template does not hold the caption once: of a user's text {SENTINEL!r} it makes "
            f"{made[0]!r}; {FIX}"
        )

    def rendered(self, content: Any) -> str:
        """The prompt of a user's turn, ending where the assistant's begins; what went wrong for content it refuses."""
        from jinja2 import TemplateError

        chat, settings = [{"role": "user", "content": content}], {"add_generation_prompt": True, **TEMPLATE_SETTINGS}
        try:
            return str(self.inner.apply_chat_template(chat, tokenize=False, **settings))
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            return f"({type(error).__name__}: {error})"

    def _about_picture(self, eyes: Eyes) -> tuple[str, str, str]:
        """What the processor puts before every prompt; and before and after a question, with the image written out."""
        before, after = self._turn([{"type": "image"}, {"type": "text", "text": SENTINEL}])
        with reading(self.source, "a processor of images and text"):
            text, made = handed_over(eyes.processor, before + SENTINEL + after, eyes.picture)
        ids = list(made["input_ids"][0])
        self.image_tokens = ids.count(self.image_id)
        if not self.image_tokens or text.count(SENTINEL) != 1:
            raise ValueError(
                f"{self.source}: the processor makes {self.image_tokens} tokens of the model's image token "
                f"{self.inner.convert_ids_to_tokens(self.image_id)!r} of a picture in the prompt {text!r}; {FIX}"
            )
        self.types = {
            name: {number: int(kind) for number, kind in zip(ids, made[name][0], strict=True) if kind}
            for name in TYPES
            if name in made
        }
        # Processors have their tokenizer put a token before prompts that do not begin with it themselves.
        for lead in ("", self.inner.bos_token or ""):
            if self.inner(lead + text, add_special_tokens=False)["input_ids"] == ids:
                before, _, after = (lead + text).partition(SENTINEL)
                return lead, before, after
        raise ValueError(
            f"{self.source}: the processor's ids of the prompt {text!r} are not its tokenizer's, so that unimm would "
            f"word another prompt than the library does; {FIX}"
        )

    def _marks(self) -> frozenset[int]:
        """Ids that no text makes: special tokens, those that the template writes, and those without embedding.

        Raises:
            ValueError: the template itself needs a token that the model does not embed.
        """
        written = {
            number for turn in (self.request, self.asked) for piece in turn for number in _ids(self.inner, piece)
        } | {int(self.inner.eos_token_id)}
        rows = self.limits.rows
        missing = sorted(number for number in written - {self.image_id} if number >= rows)
        if missing:
            raise ValueError(
                f"{self.source / TOKENIZER}: every prompt needs {self.inner.convert_ids_to_tokens(missing[0])!r}, and "
                f"its id {missing[0]} is beyond the {rows} that the model embeds: they are not of the same checkpoint; "
                "copy it again"
            )
        added = set(self.inner.get_added_vocab().values())
        beyond = {number for number in added if number >= rows}
        return special_ids(self.inner) | (added & written) | beyond | {self.image_id}

    @property
    def unk_token_id(self) -> int | None:
        """What unknown words become; None for byte-level vocabularies."""
        return self.inner.unk_token_id  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self.inner(*arguments, **settings)

    def save_pretrained(self, folder: Path) -> None:
        """Write tokenizer and chat template, or the whole processor, as `transformers` does."""
        self.whole.save_pretrained(folder)


class _Listener:
    """A tokenizer that remembers the texts that it was called with."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.heard: list[Any] = []

    def __call__(self, text: Any, **settings: Any) -> Any:
        self.heard.append(text)
        return self.inner(text, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def handed_over(processor: Any, prompt: str, picture: Tensor) -> tuple[str, Any]:
    """The prompt with the picture written out, which the processor hands to its tokenizer, and what it then makes."""
    tokenizer, listener = processor.tokenizer, _Listener(processor.tokenizer)
    processor.tokenizer = listener
    try:
        made = processor(text=[prompt], images=[picture], do_rescale=False)
    finally:
        processor.tokenizer = tokenizer
    (text,) = listener.heard[-1]
    return str(text), made


def _check(tokenizer: Any, source: Path, rows: int) -> None:
    """ValueError for a tokenizer without template or end of an answer, or whose vocabulary the model does not embed."""
    if not tokenizer.chat_template:
        raise ValueError(
            f"{source}: the tokenizer has no chat template (tokenizer_config.json or chat_template.jinja): give an "
            "instruction-tuned checkpoint, or save one with tokenizer.chat_template set"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{source / TOKENIZER} names no eos_token, which ends every answer; add it")
    added = set(tokenizer.get_added_vocab())  # no text needs these: `literal` reads their spelling as text
    ids = [number for token, number in tokenizer.get_vocab().items() if token not in added]
    if max(ids) >= rows:
        raise ValueError(
            f"{source / TOKENIZER}: texts can make ids up to {max(ids)}, the model embeds {rows}: they are not of the "
            "same checkpoint; copy it again"
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]


@lru_cache(64)
def _length(tokenizer: Any, before: str, after: str) -> int:
    """Tokens of a prompt around its text."""
    return len(_ids(tokenizer, before)) + len(_ids(tokenizer, after))


@image_id.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer) -> int:
    return tokenizer.image_id


@generation_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, caption: str) -> list[int]:
    return tokenizer.generation(caption)


@question_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, question: str, image_tokens: int) -> list[int]:
    return tokenizer.question(question, image_tokens)


@answer_ids.register(ChatTokenizer)
def _(tokenizer: ChatTokenizer, answer: str) -> list[int]:
    return tokenizer.answer(answer)
