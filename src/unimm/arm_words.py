"""An arm in words: what the backbone predicts, with which objective, and what training does to the backbone.

A component has its phrase beside it (`unimm.components`: ``phrase``), which is read off its source file: pages are made
without torch. A run keeps the phrases of its arm in ``result.json``, as its page may be made where a plug-in is not
installed. A component without a phrase is called by its name; that of a class it derives from would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unimm.registry import Registry, encoders, objectives, strategies

# What makes an arm: encoder x objective x strategy. All else is a setting that arms share or declare.
PARTS = ("encoder", "objective", "strategy")

_REGISTRIES: dict[str, Registry[Any]] = dict(zip(PARTS, (encoders, objectives, strategies), strict=True))
_UNNAMED = {"encoder": "targets of encoder {}", "objective": "objective {}", "strategy": "the strategy is {}"}


def short_name(component: str) -> str:
    """The name of a component without its module, which those that are not registered have: "module:Class"."""
    return component.rpartition(":")[2]


def phrase(part: str, name: str) -> str:
    """A component in words, as a part of what `sentence` makes; by its name where nothing else is known."""
    try:
        own = _REGISTRIES[part].source(name).own("phrase")
    except (ValueError, ImportError, OSError, SyntaxError):  # a plug-in that is not, or no longer, installed
        own = None
    return own if isinstance(own, str) and own else _UNNAMED[part].format(short_name(name))


def phrases(config: Mapping[str, Any]) -> dict[str, str]:
    """The parts of a resolved configuration's arm in words."""
    return {part: phrase(part, str(config[part]["name"])) for part in PARTS}


def sentence(parts: Mapping[str, str]) -> str:
    """An arm of these `phrases` as one sentence."""
    target = parts["encoder"]
    return f"{target[0].upper()}{target[1:]} are predicted with {parts['objective']}, and {parts['strategy']}."


def question(parts: Mapping[str, str]) -> str:
    """The question that an arm of these `phrases` asks."""
    made = f"{parts['encoder']} are predicted with {parts['objective']} while {parts['strategy']}"
    return f"How good are images when {made}?"


def renamed(name: str, replaced: Mapping[str, str]) -> str:
    """The name of an arm of which the parts `replaced` (part -> component) are others than its file says.

    A run's folder bears the name, so that only the class of a "module:Class" stays.
    """
    return "-".join([name, *(f"{part}-{short_name(component)}" for part, component in replaced.items())])
