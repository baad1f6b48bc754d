"""What `unimm list` says: the components of a kind, the settings of one, and the scores that claims can name.

Imports no torch: components are read off their source files.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from unimm.evaluation.words import BUILT_IN
from unimm.registry import KINDS, Registry, nearest

SCORES, TARGETS = "scores", "targets"


def scores() -> list[dict[str, Any]]:
    """Every built-in score: its name, what tables call it, and which way is better."""
    return [
        {"name": name, "section": words.section, "label": words.label, "better": words.better}
        for name, words in BUILT_IN.items()
    ]


def components(kind: str) -> list[dict[str, Any]]:
    """Name and first line of every component of a kind."""
    registry = _registry(kind)
    return [{"name": name, "description": registry.describe(name)} for name in registry.names()]


def component(kind: str, name: str) -> dict[str, Any]:
    """One component: what it is, and its settings; ValueError for an unknown name, or one of a score."""
    if kind in (SCORES, TARGETS):
        raise ValueError(f"{kind} have no settings: see `unimm list {kind}`, or `unimm list metrics NAME`")
    source = _registry(kind).source(name)
    return {
        "kind": kind,
        "name": name,
        "class": f"{source.module}:{source.node.name}",
        "description": source.doc.partition("\n")[0],
        "settings": [setting._asdict() for setting in source.settings()],
    }


def score_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """`scores` as text."""
    lower = {"lower": " (lower is better)", "higher": ""}
    return [f"{row['name']:<42}{row['section']}: {row['label']}{lower[row['better']]}" for row in rows]


def component_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """`components` as text."""
    width = max((len(row["name"]) for row in rows), default=0) + 2
    return [f"{row['name']:<{width}}{row['description']}" for row in rows]


def detail_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One or more of `component` as text: a line for each setting, and its meaning below it."""
    lines: list[str] = []
    for row in rows:
        lines += [*textwrap.wrap(f"{row['name']}: {row['description']}", 80), f"class {row['class']}", ""]
        lines += [line for setting in row["settings"] for line in _setting_lines(setting)] or ["nothing to set"]
    return lines


def _setting_lines(setting: dict[str, Any]) -> list[str]:
    given = "required" if setting["required"] else f"default {_as_yaml(setting['default'])}"
    bounds = f", {setting['bounds']}" if setting["bounds"] else ""
    meaning = setting["meaning"] or "not described by its class"
    shown = textwrap.wrap(meaning, 78, initial_indent="    ", subsequent_indent="    ")
    return [f"{setting['name']}: {setting['type']}{bounds} ({given})", *shown]


def _as_yaml(value: Any) -> str:
    """A default as an arm's file would have it."""
    bare = value is None or isinstance(value, bool) or value == ""
    return json.dumps(value) if bare else str(value)


def _registry(kind: str) -> Registry[Any]:
    if kind not in KINDS:
        choices = [*KINDS, SCORES, TARGETS]
        guess = nearest(kind, choices)
        hint = f"did you mean {guess!r}? " if guess else ""
        raise ValueError(f"no kind {kind!r}; {hint}choices: {', '.join(choices)}")
    return KINDS[kind]
