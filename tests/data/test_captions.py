"""Captions from records, and the choice of one."""

from __future__ import annotations

import pytest

from unimm.data.captions import Keys, Texts, choose, cut, read_record, texts_of

KEYS = Keys("short", "long", "caption", "qa")


def test_strings_lists_and_questions_are_read_and_cut():
    record = {
        "short": " a  dog ",
        "long": ["one two three four five", "", "b"],
        "caption": "a dog",
        "qa": [["what ?", "dog"], {"question": "where ?", "answer": "here"}],
    }
    assert texts_of(record, KEYS, 4) == Texts(
        ("a dog",), ("one two three four", "b"), (), (("what ?", "dog"), ("where ?", "here"))
    )
    assert texts_of({"caption": None}, KEYS, 4) == Texts()
    assert texts_of(record, KEYS._replace(questions=None), 4).questions == ()


@pytest.mark.parametrize(
    "record",
    [
        {"short": 3},
        {"long": ["a", {}]},
        {"qa": [["only a question"]]},
        {"qa": [[1, 2]]},
        {"qa": 7},
        {"qa": True},
        {"qa": {"question": "where ?", "answer": "here"}},
    ],
)
def test_other_things_than_text_are_refused(record):
    with pytest.raises(ValueError, match=r"not text|not a"):
        texts_of(record, KEYS, 4)


@pytest.mark.parametrize(
    ("text", "words", "characters"),
    [
        ("一张红色圆圈和两个蓝色方块的照片" * 400, 1, 4096),
        ("วงกลมสีแดงในภาพ" * 300, 1, 4096),
        ("https://x.org/" + "a1b2" * 2000, 1, 4096),
        ("a photo of a red circle and " * 400, 256, len("a photo of a red circle and " * 36 + "a photo of a")),
    ],
    ids=["Chinese", "Thai", "address", "English"],
)
def test_text_without_white_space_is_cut_by_characters(text, words, characters):
    kept = cut(text, 256)
    assert text.startswith(kept)
    assert (len(kept.split()), len(kept)) == (words, characters)


@pytest.mark.parametrize("record", [b'{"short": "a \\ud83d b"}', b'{"qa": [["what ?", "\\ud83d"]]}'])
def test_text_that_utf8_cannot_hold_is_refused(record):
    with pytest.raises(ValueError, match=r"not text: surrogates not allowed"):
        texts_of(read_record(record), KEYS, 4)


@pytest.mark.parametrize("data", [b"", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_record_is_a_json_object(data):
    with pytest.raises(ValueError, match="not"):
        read_record(data)


def test_the_wanted_kind_then_the_unknown_then_the_other():
    both = Texts(short=("s",), long=("l",), plain=("p",))
    assert (choose(both, "long", 0, 0), choose(both, "short", 0, 0)) == (("l", "long"), ("s", "short"))
    assert choose(Texts(short=("s",), plain=("p",)), "long", 0, 0) == ("p", "plain")
    assert choose(Texts(short=("s",)), "long", 0, 0) == ("s", "short")
    assert choose(Texts(long=("l",)), "short", 0, 0) == ("l", "long")
    assert choose(both._replace(placed=("where",)), "placed", 0, 0) == ("where", "placed")


def test_one_of_several_captions_is_a_function_of_seed_and_position():
    texts = Texts(plain=("a", "b", "c"))
    drawn = [choose(texts, "long", 1, position).text for position in range(60)]
    assert drawn == [choose(texts, "long", 1, position).text for position in range(60)]
    assert set(drawn) == {"a", "b", "c"}
    assert drawn != [choose(texts, "long", 2, position).text for position in range(60)]
