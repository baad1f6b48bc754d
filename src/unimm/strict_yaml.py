"""YAML files where a key given twice is an error instead of a silent last-one-wins."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from unimm.config_errors import ConfigError


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads 1e-3 as a number, as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(f"line {line}: {key!r} is given twice (first in line {seen[key]}); remove one")
            seen[key] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else is a ConfigError that names the file and the line."""
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.yaml"))
        hint = f"; there: {', '.join(near)}" if near else ""
        raise ConfigError(f"{path}: no such file{hint}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        place = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {place}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `key: value` lines")
    return content
