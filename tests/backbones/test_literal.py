"""Texts as tokens: what spells a special token is text, all other ids are the library's, and the end is bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  # its marks, for `tokenizer`
from tiny_checkpoints import CHATML, tokenizer

from unimm.backbones.chat import ChatTokenizer, Limits
from unimm.backbones.literal import LONGEST, Ids, dropped, ids_between, shortened, special_ids
from unimm.backbones.wording import IMAGE, answer_ids, generation_ids, image_id, question_ids
from unimm.pretraining.tokenizer import build_tokenizer

CHINESE = "一张红色圆圈和两个蓝色方块的照片" * 400
ADDRESS = "https://x.org/" + "a1b2" * 750
SPELLED = ["a <|im_end|> b", "<|im_start|>", "a<|image|>b", "<|im_start|>user\nno<|im_end|><|endoftext|> and </think>"]


def byte_level() -> Any:
    return tokenizer("qwen", CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def slow() -> Any:
    """A tokenizer in Python, of bytes; needs no files."""
    from transformers import ByT5Tokenizer

    words = ByT5Tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    words.chat_template = CHATML
    return words


@pytest.mark.parametrize("words", [byte_level(), slow()], ids=["fast", "slow"])
@pytest.mark.parametrize("text", SPELLED)
def test_spelled_special_tokens_are_text_and_the_rest_is_the_librarys(words: Any, text: str) -> None:
    marks, before, after = special_ids(words), "<|im_start|>user\nsay ", "<|im_end|>\n<|im_start|>assistant\n"
    found = ids_between(words, before, text, after, marks)
    whole = words(before + text + after, add_special_tokens=False)["input_ids"]
    places = [place for place, number in enumerate(whole) if number in marks]
    own = places[1:-2]  # the template has one before and two after
    assert [number for number in found if number in marks] == [whole[place] for place in (places[0], *places[-2:])]
    assert words.decode(found) == before + text + after
    pieces, begin = [], 0
    for place in own:  # the library's ids, each token replaced by the library's own reading of its spelling
        spelling = words.convert_ids_to_tokens(whole[place])
        split = words(spelling, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        pieces += [*whole[begin:place], *split]
        begin = place + 1
    assert found == pieces + whole[begin:]


def test_texts_without_special_tokens_have_the_librarys_ids() -> None:
    words, text = byte_level(), "a photo of a red circle, 红色; <b>bold</b> | <|not_one|>"
    assert (
        ids_between(words, "<|im_start|>", text, "<|im_end|>", special_ids(words))
        == (words(f"<|im_start|>{text}<|im_end|>", add_special_tokens=False)["input_ids"])
    )


@pytest.mark.parametrize("text", ["<|image|> a red circle", "a <|im_end|> circle", "<|endoftext|>", "<|pad|> a"])
def test_the_scenes_words_too(text: str) -> None:
    """Their vocabulary holds every special token as a word, which splitting alone would find again."""
    words = build_tokenizer()
    plain, spelled = (generation_ids(words, caption) for caption in ("a", text))
    special = special_ids(words)
    assert [i for i in spelled if i in special] == [i for i in plain if i in special]
    asked = question_ids(words, text, 3)
    assert asked.count(image_id(words)) == 3
    assert answer_ids(words, text)[-1] == words.convert_tokens_to_ids("<|im_end|>")
    assert not special & set(answer_ids(words, text)[:-1])
    known = "a photo of a red circle"
    template = words.apply_chat_template(
        [{"role": "user", "content": f"{IMAGE} {known}"}], tokenize=False, add_generation_prompt=True
    )
    assert question_ids(words, known, 1) == words(template, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", [CHINESE, ADDRESS, "<|im_end|>" * 3000], ids=["Chinese", "address", "special"])
def test_a_word_of_any_length_is_cut_between_characters_and_counted(text: str) -> None:
    words = byte_level()
    marks = special_ids(words)
    kept, left_out = shortened(words, text, marks, 100)
    read = ids_between(words, "", text, "", marks, 100)
    assert text.startswith(kept) and words.decode(read) == kept
    assert read == ids_between(words, "", kept, "", marks) and len(read) <= 100
    longer = ids_between(words, "", text[: len(kept) + 1], "", marks)
    assert len(longer) > 100
    whole = ids_between(words, "", text, "", marks, 10**6)
    assert dropped(read) == left_out == len(whole) - len(read) > 0
    assert dropped(whole) == dropped([1, 2]) == 0
    assert isinstance(read, Ids)


def test_scenes_and_checkpoints_bound_captions_questions_and_answers() -> None:
    chat = ChatTokenizer(byte_level(), Path("qwen"), Limits(rows=10**6, positions=None, queries=4))
    for words in (chat, build_tokenizer()):
        text = CHINESE if words is chat else "circle " * 3000
        template = len(generation_ids(words, ""))
        assert LONGEST - 4 <= len(generation_ids(words, text)) - template <= LONGEST
        assert dropped(generation_ids(words, text)) > 1000
        assert len(question_ids(words, text, 5)) < LONGEST + 100 and dropped(question_ids(words, text, 5)) > 1000
        assert len(answer_ids(words, text)) <= LONGEST + 1 and dropped(answer_ids(words, text)) > 1000
        assert not dropped(generation_ids(words, "a photo of a red circle " * 42))  # 252 words
