"""What `unimm list` says: kinds, components of one, settings of one of these, and the scores that claims can name.

Imports no torch: components are read off their source files. Lines fit a terminal of 80 columns.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from unimm.evaluation.words import BUILT_IN
from unimm.registry import KINDS, Registry, nearest

SCORES, TARGETS = "scores", "targets"
_LISTS = {
    SCORES: "Names of the built-in metrics' scores, which claims are about.",
    TARGETS: "What each encoder makes of an image of 256 or 512 pixels, as a page in Markdown.",
}
WIDTH, NAMES = 80, 44  # columns of a terminal, and what names may take of them


def kinds() -> list[dict[str, Any]]:
    """Everything that can be listed, and what it is."""
    found = {kind: registry.description for kind, registry in KINDS.items()} | _LISTS
    return [{"name": kind, "description": text} for kind, text in found.items()]


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
    """`scores` as text, section by section."""
    lower = {"lower": " (lower is better)", "higher": ""}
    sections: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        sections.setdefault(row["section"], []).append((f"  {row['name']}", f"{row['label']}{lower[row['better']]}"))
    return [line for section, found in sections.items() for line in (*_wrapped(section), *_columns(found))]


def component_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """`kinds` or `components` as text."""
    return _columns([(row["name"], row["description"]) for row in rows])


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Names and what they are; the text of a name that is too long for its column begins below it."""
    width = min(max((len(name) for name, _ in rows), default=0) + 2, NAMES)
    lines: list[str] = []
    for name, text in rows:
        first, *more = _wrapped(text, width=WIDTH - width) or [""]
        lines += [f"{name:<{width}}{first}".rstrip()] if len(name) + 2 <= width else [name, " " * width + first]
        lines += [" " * width + line for line in more]
    return lines


def _wrapped(text: str, indent: str = "", width: int = WIDTH) -> list[str]:
    """Lines of which all but the first are indented; names are not cut."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def detail_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One or more of `component` as text: a line for each setting, and its meaning below it."""
    lines: list[str] = []
    for row in rows:
        lines += [*_wrapped(f"{row['name']}: {row['description']}"), f"class {row['class']}", ""]
        lines += [line for setting in row["settings"] for line in _setting_lines(setting)] or ["nothing to set"]
    return lines


def _setting_lines(setting: dict[str, Any]) -> list[str]:
    given = "required" if setting["required"] else f"default {_as_yaml(setting['default'])}"
    bounds = f", {setting['bounds']}" if setting["bounds"] else ""
    meaning = setting["meaning"] or "not described by its class"
    shown = textwrap.wrap(meaning, WIDTH - 2, initial_indent="    ", subsequent_indent="    ")
    return [*_wrapped(f"{setting['name']}: {setting['type']}{bounds} ({given})", indent="  "), *shown]


def _as_yaml(value: Any) -> str:
    """A default as an arm's file would have it."""
    bare = value is None or isinstance(value, bool) or value == ""
    return json.dumps(value) if bare else str(value)


def _registry(kind: str) -> Registry[Any]:
    if kind not in KINDS:
        choices = [*KINDS, *_LISTS]
        guess = nearest(kind, choices)
        hint = f"did you mean {guess!r}? " if guess else ""
        raise ValueError(f"no kind {kind!r}; {hint}choices: {', '.join(choices)}")
    return KINDS[kind]
