"""A word in a YAML file is read as YAML 1.2 reads it, and as the same word of an override."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm.config import ConfigError, load
from unimm.config_parents import check_parents
from unimm.strict_yaml import dump_yaml, parse, read_yaml, setting

ARM = Path(__file__).parents[1] / "ablations" / "vae_fm.yaml"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1),
        ("-1_000", -1000),
        ("1e-3", 1e-3),
        ("5.", 5.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("0b1", "0b1"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ('"010"', "010"),
        ("'1'", "1"),
    ],
)
def test_words_are_what_they_look_like(word: str, value: Any) -> None:
    found = parse(f"key: {word}")["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("word", ["010", "00", "-08", "+0_1"])
def test_leading_zeros_are_refused_in_files_and_in_overrides(word: str, tmp_path: Path) -> None:
    (tmp_path / "arm.yaml").write_text(f"name: x\nseed: {word}\n")
    with pytest.raises(ConfigError, match=r"arm\.yaml, line 2: .* has a leading zero"):
        read_yaml(tmp_path / "arm.yaml")
    for text in (f"seed={word}", f"evaluation.metrics=[{word}]", f"source={{name: folder, path: {word}}}"):
        with pytest.raises(ConfigError, match=rf"vae_fm\.yaml: .*{word[1:]} has a leading zero"):
            load(ARM, [text])
    assert load(ARM, ["profile=tiny", f'question="{word}"']).question == word


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="0123456789+-._eExobnairtlsuyf:~ ", max_size=8))
def test_an_override_and_a_file_read_a_word_alike_or_one_refuses_it(word: str) -> None:
    """But for three spellings of what no setting can be: YAML's infinities, Hydra's, and nothing at all."""
    try:
        in_file = parse(f"key: {word}")
        override = OverridesParser.create().parse_override(f"key={word}").value()
    except (yaml.YAMLError, ConfigError, HydraException):
        return
    assert isinstance(in_file, dict)
    value, numbers = in_file["key"], (int, float)
    if isinstance(value, numbers) and isinstance(override, numbers):
        assert type(value) is type(override)
        assert value == override or (math.isnan(value) and math.isnan(override))
    elif isinstance(value, int) or isinstance(override, int):
        # Hydra reads tRuE as true, which for a setting that is a boolean the text is too.
        assert str(value).lower() == str(override).lower() and isinstance(override, bool)
    elif isinstance(value, float) or isinstance(override, float):
        assert not math.isfinite(float(value if isinstance(value, float) else override))


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 9))
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters(exclude_categories="C"))
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc01", min_size=1), PLAIN | st.lists(PLAIN), max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    assert parse(dump_yaml(value) or "{}") == value


@pytest.mark.parametrize("text", ["1e5", "08", "010", "2026-01-01", "on", "1:30", "0x1F", "=", "<<", "~", "1_000", ""])
def test_texts_that_look_like_something_else_survive_a_dump(text: str) -> None:
    assert parse(dump_yaml({"name": text})) == {"name": text}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_the_file(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arm.yaml"
        path.write_bytes(data)
        try:
            content = read_yaml(path)
        except ConfigError as error:
            named = str(path) in str(error)
        else:
            named = isinstance(content, dict)
        assert named


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: x", "the key 1 is no text; quote it"),
        ("? [a]\n: b", "is no text; quote it"),
        ("a: &a [*a]", "holds the alias itself"),
        ("a: " + "[" * 300 + "]" * 300, "levels deep"),
        ("[" * 3000, "levels deep"),
        (
            "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 9)),
            "100000",
        ),
        ('name: "a\\0b"', "no file can hold"),
        ('name: "\\ud800"', "no file can hold"),
        ("n: " + "9" * 5000, "4300 digits"),
    ],
)
def test_what_would_break_a_reader_later_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "arm.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "arm.yaml")


def test_a_date_is_a_name_and_still_a_date_where_one_is_meant(tmp_path: Path) -> None:
    from unimm.study.schema import Amendment

    (tmp_path / "arm.yaml").write_text(ARM.read_text().replace("name: vae_fm", "name: 2026-01-01"))
    assert load(tmp_path / "arm.yaml", ["profile=tiny"]).name == "2026-01-01"
    amendment = parse("{date: 2026-12-01, reason: more, seeds: [3]}")
    assert Amendment.model_validate(amendment).date == datetime.date(2026, 12, 1)


def test_files_that_an_arm_builds_on_are_read_as_it_is(tmp_path: Path) -> None:
    for name, text in {
        "child": "defaults: [parent, _self_]\nname: y\n",
        "parent": "defaults: [base, _self_]\nquestion: 1:30\n",
        "first": "defaults: [second]\n",
        "second": "defaults: [first]\n",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"parent\.yaml: question: a word there is read in two ways"):
        load(tmp_path / "child.yaml")
    with pytest.raises(ConfigError, match=r"first\.yaml -> second\.yaml -> first\.yaml is a circle"):
        load(tmp_path / "first.yaml")
    (tmp_path / "parent.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"parent\.yaml is not UTF-8 text \(byte 0xff at position 6\)"):
        load(tmp_path / "child.yaml")
    check_parents(ARM, read_yaml(ARM), [ARM.parent])


@pytest.mark.parametrize("value", ["/ckpt/epoch=3-step=10", "/data/a#b", "/data/日本", "~/data", "it's", 'a"b', "a\\"])
def test_a_value_that_needs_quotes_says_how_to_write_it(value: str) -> None:
    import shlex

    chosen = ["profile=tiny", "source=folder"]
    try:
        assert load(ARM, [*chosen, f"source.path={value}"]).source.config.model_dump()["path"] == value
    except ConfigError as error:
        (advised,) = shlex.split(str(error).rpartition("for a shell: ")[2])
        assert load(ARM, [*chosen, advised]).source.config.model_dump()["path"] == value


def test_settings_of_data_and_of_decoders_are_read_alike() -> None:
    from unimm.training.decoder import read_recipe

    assert setting("side=1_000") == ("side", 1000)
    for call in (lambda: setting("side=010"), lambda: read_recipe(["steps=010"]), lambda: setting("side")):
        with pytest.raises(ConfigError, match=r"leading zero|write key=value"):
            call()
    assert read_recipe(["network.width=96"]).network.config.model_dump()["width"] == 96
