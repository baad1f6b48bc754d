"""Captions of a sample: read from a record (JSON object, JSONL line, table row), and one of them chosen for a step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from unimm.noise import NoiseSource
from unimm.schema import CaptionKind

TEXT_BYTES = 1 << 20
# Characters that a word may have on average: far more than any language's words, so that the bound is felt only by text
# without white space (Chinese, Thai, addresses).
CHARACTERS = 16
TXT_NOT_JSON, JSON_NOT_TXT = ".txt, the .json differs", ".json, the .txt differs"
DIFFER = (TXT_NOT_JSON, JSON_NOT_TXT)


class Texts(NamedTuple):
    """Short and long captions, those of unknown kind, and (question, answer) pairs.

    ``placed`` captions say what short ones do and where it stands; only the embedded world has them. ``origin`` says,
    where a sample has two files of text, whose captions of unknown kind these are (`with_txt`).
    """

    short: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    placed: tuple[str, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions."""
        return self.short + self.long + self.plain + self.placed


class Caption(NamedTuple):
    """The caption of a visit and its kind: ``short``, ``placed``, ``long`` or ``plain``."""

    text: str
    kind: str


class Keys(NamedTuple):
    """Names of a record's entries; ``questions`` is None where the data has none."""

    short: str
    long: str
    plain: str
    questions: str | None


def texts_of(record: Mapping[str, Any], keys: Keys, words: int) -> Texts:
    """The texts of a record, each cut by `cut`; ValueError where an entry is not text.

    An entry is a string or a list of strings, of which nulls and blanks count as absent; questions are
    ``[question, answer]`` pairs or objects with those keys.
    """
    short, long, plain = (_strings(record, key, words) for key in (keys.short, keys.long, keys.plain))
    questions = _listed(record, keys.questions) if keys.questions is not None else ()
    # A .txt beside a .json often repeats one of its captions.
    unknown = tuple(text for text in plain if text not in short + long)
    return Texts(short, long, unknown, tuple(_pair(entry, words) for entry in questions))


def with_txt(texts: Texts, text: str, json_first: bool) -> Texts:
    """Texts of a sample's .json joined with the ``text`` of its .txt, which is a caption of unknown kind.

    The .txt counts where the .json has no such caption. Where they differ, the .txt counts too, unless ``json_first``:
    sets are captioned anew by writing other .txt files, and their old alt texts stay behind in the .json.
    """
    if not text:
        return texts._replace(origin=".json")
    if text in texts.captions:
        return texts._replace(origin=".txt and .json alike")
    if not texts.plain:
        return texts._replace(plain=(text,), origin=".txt")
    if json_first:
        return texts._replace(origin=JSON_NOT_TXT)
    return texts._replace(plain=(text,), origin=TXT_NOT_JSON)


def read_record(data: bytes) -> dict[str, Any]:
    """The JSON object in ``data``; ValueError for anything else."""
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def cut(text: str, words: int) -> str:
    """White space made single, no more than ``words`` words, and no more characters than so many words could have.

    ValueError for text that UTF-8 cannot hold, or with NUL characters, as UTF-16 read for UTF-8 has.
    """
    kept = " ".join(text.split(maxsplit=words)[:words])[: words * CHARACTERS].rstrip()
    if "\0" in kept:
        raise ValueError(f"not text: a NUL character at {kept.index(chr(0))}; texts are UTF-8")
    try:
        kept.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair, at which tokenizers and files fail
        raise ValueError(f"not text: {error.reason} at character {error.start}") from error
    return kept


def choose(texts: Texts, wanted: CaptionKind, seed: int, position: int) -> Caption:
    """A caption of the wanted kind where there is one, else of unknown kind, else of another; of several captions
    of that kind, the one that (seed, position) names."""
    kind = next(kind for kind in (wanted, "plain", "short", "long") if getattr(texts, kind))
    options: tuple[str, ...] = getattr(texts, kind)
    draw = 0.0 if len(options) == 1 else float(NoiseSource(seed, "caption").uniform([position]))
    return Caption(options[int(draw * len(options))], kind)


def _strings(record: Mapping[str, Any], key: str, words: int) -> tuple[str, ...]:
    value = record.get(key)
    entries = value if isinstance(value, list | tuple) else () if value is None else (value,)
    entries = [entry for entry in entries if entry is not None]
    for entry in entries:
        if not isinstance(entry, str):
            raise ValueError(f"{key!r} holds {type(entry).__name__}, not text")
    return tuple(filter(None, (cut(entry, words) for entry in entries)))


def _listed(record: Mapping[str, Any], key: str) -> list[Any] | tuple[Any, ...]:
    value = record.get(key)
    if not value:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key!r} holds {type(value).__name__}, not a list of questions")
    return value


def _pair(entry: Any, words: int) -> tuple[str, str]:
    pair = (entry.get("question"), entry.get("answer")) if isinstance(entry, Mapping) else entry
    match pair:
        case (str(question), str(answer)) | [str(question), str(answer)]:
            return cut(question, words), cut(answer, words)
    raise ValueError("a question is not a [question, answer] pair of texts")
