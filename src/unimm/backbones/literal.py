"""A text of the data or of a user as token ids: read as text whatever it spells, and never longer than a bound.

Tokenizers turn the spelling of a special token into that token wherever it stands, so that a caption with
``<|image_pad|>`` would ask for an image that is not there, and one with ``<|im_end|>`` would end its turn. Here a
prompt is three pieces, what the wording says before the text, the text, and what it says after. The whole is tokenised
as the library does, and then every special token that the text spelled is replaced by the ids of its spelling
(``split_special_tokens``): all other ids are the library's.

`unimm.data.captions` bounds captions by words. A language without white space, or an address, is one word of any
length, so texts are bounded by tokens too: at their end, between two characters. How many tokens were left out travels
with the ids, and is counted and listed in the run's data card.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

LONGEST = 1024  # four tokens for each of the 256 words after which sources cut captions


class Ids(list[int]):
    """Token ids of a prompt or an answer; ``dropped``: how many tokens of its text were cut off, mostly 0."""

    dropped: int = 0

    @classmethod
    def of(cls, ids: list[int], dropped: int) -> Ids:
        """The ids, with what was cut off."""
        made = cls(ids)
        made.dropped = dropped
        return made


def dropped(ids: list[int]) -> int:
    """How many tokens of a text were cut off; 0 for ids that a plug-in's tokenizer made as a plain list."""
    return ids.dropped if isinstance(ids, Ids) else 0


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that no text may make: special tokens, but for the one of unknown words."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset((added | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id})


def ids_between(
    tokenizer: Any, before: str, text: str, after: str, marks: AbstractSet[int], room: int = LONGEST
) -> Ids:
    """Token ids of ``before + text + after``; ``text`` makes none of ``marks`` and no more than ``room`` tokens."""
    kept, left_out = shortened(tokenizer, text, marks, room)
    ids = _read(tokenizer, before + kept + after)
    if any(number in marks for number in _read(tokenizer, kept)):
        first, last = (_count(_read(tokenizer, piece), marks) for piece in (before, after))
        ids = _spelled_out(tokenizer, ids, marks, first, last)
    return Ids.of(ids, left_out)


def shortened(tokenizer: Any, text: str, marks: AbstractSet[int], room: int) -> tuple[str, int]:
    """The longest beginning of ``text`` that has at most ``room`` tokens, and how many tokens the rest has."""
    whole = len(text_ids(tokenizer, text, marks))
    if whole <= room:
        return text, 0
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(text_ids(tokenizer, text[:middle], marks)) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low], whole - len(text_ids(tokenizer, text[:low], marks))


def text_ids(tokenizer: Any, text: str, marks: AbstractSet[int]) -> list[int]:
    """Token ids of a text by itself, none of them of ``marks``."""
    return _spelled_out(tokenizer, _read(tokenizer, text), marks, 0, 0)


def _spelled_out(tokenizer: Any, ids: list[int], marks: AbstractSet[int], first: int, last: int) -> list[int]:
    """The ids with every one of ``marks`` spelled out as text, but for the ``first`` and the ``last`` of them."""
    end, seen, made = _count(ids, marks) - last, 0, []
    for number in ids:
        seen += number in marks
        spelled = number in marks and first < seen <= end
        made += _spelling(tokenizer, number, marks) if spelled else [number]
    return made


def _spelling(tokenizer: Any, mark: int, marks: AbstractSet[int]) -> list[int]:
    """Ids of how a special token is written."""
    spelled = str(tokenizer.convert_ids_to_tokens(mark))
    ids = _read(tokenizer, spelled, split_special_tokens=True)
    if marks.isdisjoint(ids):
        return ids
    # Added tokens that are not special are not split, and word-level vocabularies hold every token as a word.
    halves = (_read(tokenizer, half, split_special_tokens=True) for half in (spelled[:1], spelled[1:]))
    return [number for half in halves for number in half if number not in marks]


def _read(tokenizer: Any, text: str, **settings: Any) -> list[int]:
    return tokenizer(text, add_special_tokens=False, **settings)["input_ids"]  # type: ignore[no-any-return]


def _count(ids: list[int], marks: AbstractSet[int]) -> int:
    return sum(number in marks for number in ids)
