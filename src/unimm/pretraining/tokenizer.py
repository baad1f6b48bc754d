"""The scenes' tokenizer: every word of the grammar, one token each, as a `transformers` fast tokenizer.

The end-of-text token has the highest id, which is where open_clip's text tower pools.
"""

from __future__ import annotations

from itertools import chain

from transformers import PreTrainedTokenizerFast

from unimm.scenes.captions import NUMBER_WORDS
from unimm.scenes.prompts import NUMBERS, plural
from unimm.scenes.world import COLOURS, RELATIONS, SHAPES

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|image|>", "<|unknown|>")
END = "<|endoftext|>"
GRAMMAR = [
    "a",
    "an",
    "photo",
    "picture",
    "image",
    "drawing",
    "of",
    "and",
    "is",
    "are",
    "there",
    "how",
    "many",
    "what",
    "colour",
    "the",
    "yes",
    "no",
    "object",
    "objects",
    "in",
    "everything",
    "stands",
    "on",
    "dark",
    "light",
    "grey",
    "background",
    "small",
    "large",
    "top",
    "centre",
    "bottom",
    "left",
    "middle",
    "right",
    "above",
    "below",
    ".",
    "?",
    "describe",
    "user",
    "assistant",
    "generate",
    "answer",
    ":",
    ",",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} {{ message['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant{% endif %}"
)


def vocabulary() -> list[str]:
    """All words in a fixed order: special tokens, grammar, shapes and plurals, colours, numbers, end of text."""
    relations = chain.from_iterable(r.split() for r in RELATIONS)
    shapes = chain.from_iterable((s, plural(s)) for s in SHAPES)
    words = [*SPECIAL, *GRAMMAR, *relations, *shapes, *COLOURS, *NUMBER_WORDS, *NUMBERS.values()]
    return [*dict.fromkeys(words), END]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer with its chat template; save it with ``save_pretrained``."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = vocabulary()
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<|unknown|>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([*SPECIAL, END])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        eos_token=END,
        unk_token="<|unknown|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )
