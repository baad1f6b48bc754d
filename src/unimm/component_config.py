"""Base of settings of every kind, and of a component's: frozen, and strict about keys and values. Needs pydantic only.

Pydantic reads a number from `true`: a seed of `true` would be seed 1. Here that is a mistake, in every setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Strict(BaseModel):
    """Frozen, and strict about unknown keys and numbers that are none: JSON has no infinity, and `true` is no 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        kinds = set(_types(cls.model_fields[info.field_name].annotation))
        given = value if isinstance(value, list | tuple) else [value]
        if bool not in kinds and kinds & {int, float} and any(isinstance(one, bool) for one in given):
            raise ValueError("expected a number, and true and false are none")
        return value


class ComponentConfig(Strict):
    """Settings of one component; a component nests its own as `class Config(ComponentConfig)`."""


def _types(annotation: Any) -> Iterator[Any]:
    """The plain types in an annotation, such as int and NoneType in `tuple[int, ...] | None`."""
    inner = get_args(annotation)
    if isinstance(annotation, type):
        yield annotation
    for part in inner:
        yield from _types(part)
