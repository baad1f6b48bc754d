"""YAML files that are read as they look: as YAML 1.2 and as `key=value` on the command line read the same words.

PyYAML reads YAML 1.1, in which `on` is true, `010` is 8, `1:30` is 90 and `2026-01-01` is no text. Here numbers have
the grammar of Hydra's overrides, `true`, `false` and `null` are the only other words that are not text, and a number
with a leading zero, which readers take for 8 or for 10, is refused. So are a key that is given twice or is no text,
characters that no file name or UTF-8 file can hold, and aliases that hold themselves or grow without bound.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from unimm.files import read_text

INT = r"(?:0|[1-9](?:_?[0-9])*)"
POINT = rf"(?:{INT}?\.[0-9](?:_?[0-9])*|{INT}\.)"
FLOAT = rf"(?:{POINT}|(?:{POINT}|{INT})[eE][-+]?[0-9](?:_?[0-9])*)"
LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
AMBIGUOUS = "unimm:leading-zero"
DEEPEST, LARGEST = 40, 100_000

# Tag, pattern of the plain words that have it, and the characters with which they begin.
WORDS = (
    ("tag:yaml.org,2002:bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", rf"[-+]?{INT}", "-+0123456789"),
    ("tag:yaml.org,2002:float", rf"[-+]?{FLOAT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+0123456789."),
    (AMBIGUOUS, LEADING_ZERO.pattern, "-+0"),
)


class ConfigError(ValueError):
    """A configuration that the user has to change; the text says where and how."""


def leading_zero(text: str) -> str:
    """What is wrong with a number such as 010."""
    return f"{text} has a leading zero, which some readers take for octal: write it without, or quote it as text"


class _Loader(yaml.SafeLoader):
    """SafeLoader with the words of this module, which refuses what is given twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  none of YAML 1.1's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise ConfigError(f"line {line}: the key {key!r} is no text; quote it")
            if key in seen:
                raise ConfigError(f"line {line}: {key!r} is given twice (first in line {seen[key]}); remove one")
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_ambiguous(self, node: yaml.ScalarNode) -> Any:
        raise ConfigError(f"line {node.start_mark.line + 1}: {leading_zero(node.value)}")


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes texts which only this module's loader would take for something else."""


for _tag, _pattern, _first in WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor(AMBIGUOUS, _Loader.construct_ambiguous)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else is a ConfigError that names the file and the line."""
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.yaml"))
        hint = f"; there: {', '.join(near)}" if near else ""
        raise ConfigError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}{hint}")
    try:
        content = copy.deepcopy(_parsed(read_text(path)))
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {place}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from error
    except ValueError as error:  # no text, which names the file itself; or a number of thousands of digits
        text = str(error)
        raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `key: value` lines")
    return content


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """The value of a file's text, parsed once: the files that all arms build on are read again for each of them."""
    return parse(text)


def parse(text: str) -> Any:
    """The value of YAML text.

    Raises:
        yaml.YAMLError: it is none.
        ConfigError: it is, and this module refuses it.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ConfigError(f"more than {DEEPEST} levels deep: not a configuration") from error
    check_plain(content)
    return content


def setting(text: str) -> tuple[str, Any]:
    """Key and value of ``key=value``, the value read as in a file; ConfigError where it is none."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"cannot read {text!r}; write key=value")
    try:
        return key, parse(value)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"cannot read {text!r}; write key=value ({str(error).splitlines()[0]})") from error


def check_plain(value: Any) -> None:
    """ConfigError for a value that holds itself, is too deep or too large, or has text that UTF-8 cannot hold."""
    _size(value, {}, set(), 0)


def _size(value: Any, sizes: dict[int, int], open_: set[int], depth: int) -> int:
    """How many values there are once aliases are written out; each is counted once, however often it is used."""
    if isinstance(value, str):
        if "\0" in value or not _encodes(value):
            raise ConfigError(f"{value!r} has characters that no file can hold")
        return 1
    if not isinstance(value, Mapping | list):
        return 1
    if id(value) in open_:
        raise ConfigError("an alias stands for something that holds the alias itself; write it out")
    if depth > DEEPEST:
        raise ConfigError(f"more than {DEEPEST} levels deep: not a configuration")
    if id(value) not in sizes:
        open_.add(id(value))
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        sizes[id(value)] = 1 + sum(_size(part, sizes, open_, depth + 1) for part in parts)
        open_.remove(id(value))
    if sizes[id(value)] > LARGEST:
        raise ConfigError(f"more than {LARGEST} values once aliases are written out: not a configuration")
    return sizes[id(value)]


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dump_yaml(value: Any) -> str:
    """YAML that `read_yaml` reads back as it was, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
