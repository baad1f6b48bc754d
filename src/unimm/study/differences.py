"""Where configurations differ: between arms (each difference has to be declared) and between a plan and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unimm.registry import nearest
from unimm.stored_config import ABSENT, differing, flatten, shown
from unimm.study.errors import StudyError

OF_EVERY_ARM = ("name", "question")


def check_declared(configs: Mapping[str, Mapping[str, Any]], declared: Sequence[str]) -> None:
    """Refuse arms that differ in a key outside `declared`; StudyError names keys, values and arms.

    Args:
        configs: arm -> resolved configuration.
        declared: dotted keys; a key covers everything below it.
    """
    flat = {arm: flatten(config) for arm, config in configs.items()}
    keys = list(dict.fromkeys(key for config in flat.values() for key in config))
    for name in declared:
        if not any(_covers(name, key) for key in keys):
            guess = nearest(name, {key[: end or None] for key in keys for end in (key.find("."), 0) if end >= 0})
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise StudyError(f"declared_differences: no arm has a setting {name!r}{hint}")
    allowed = (*OF_EVERY_ARM, *declared)
    lines = [
        f"  {key}: {_by_value(flat, key)}"
        for key in keys
        if not any(_covers(name, key) for name in allowed)
        and len({repr(c.get(key, ABSENT)) for c in flat.values()}) > 1
    ]
    if lines:
        advice = "make them equal (`overrides` apply to every arm), or add the keys to declared_differences"
        raise StudyError("\n".join([f"arms differ where the study does not declare it; {advice}:", *lines]))


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each dotted key whose value differs."""
    return [
        f"{change.key}: {shown(change.before)} in the folder, {shown(change.after)} in the file"
        for change in differing(old, new)
    ]


def _covers(declared: str, key: str) -> bool:
    return key == declared or key.startswith(f"{declared}.")


def _by_value(flat: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """`1 in a, b; 2 in c`."""
    arms: dict[str, list[str]] = {}
    for arm, config in flat.items():
        arms.setdefault(shown(config.get(key, ABSENT)), []).append(arm)
    return "; ".join(f"{value} in {', '.join(names)}" for value, names in arms.items())
