"""Configurations as an earlier unimm stored them, compared by what the present schema makes of them.

A later unimm may add settings whose defaults mean "as before", so that a stored configuration without them is still
the same one. A value that differs is a difference, and a stored key that nothing reads any more is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from unimm.config_errors import ConfigError, explain_validation
from unimm.schema import RunConfig

ABSENT = object()


class Change(NamedTuple):
    """One dotted key with another value; `ABSENT` where a side lacks it."""

    key: str
    before: Any
    after: Any


def current(content: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A stored configuration, with or without its seed, as the present schema would store it.

    Raises:
        ConfigError: a key that nothing reads, or one that is required by now; names it and `source`.
    """
    given = dict(content)
    try:
        resolved = RunConfig.model_validate({"seed": 0, **given}).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigError(explain_validation(source, error, given)) from error
    return {key: value for key, value in resolved.items() if key != "seed" or "seed" in given}


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists count as values."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    joined = {f"{prefix}.{key}" if prefix else str(key): entry for key, entry in value.items()}
    return {key: leaf for path, entry in joined.items() for key, leaf in flatten(entry, path).items()}


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every dotted key whose value differs, in the order of the files."""
    old, new = flatten(before), flatten(after)
    pairs = (Change(key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in dict.fromkeys([*old, *new]))
    return [change for change in pairs if change.before != change.after]


def shown(value: Any) -> str:
    """A value as a message has it."""
    return "not set" if value is ABSENT else str(value)
