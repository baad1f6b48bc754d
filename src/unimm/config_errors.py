"""Configuration errors in a few lines: the file, the key, what is wrong, the nearest valid choice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from unimm.registry import Registry, detectors, metrics, nearest
from unimm.schema import COMPONENTS, RunConfig, StageConfig

# Lists of components in `evaluation`, and what one of them is called.
LISTS: dict[tuple[int | str, ...], tuple[str, Registry[Any]]] = {
    ("evaluation", "metrics"): ("metric", metrics),
    ("evaluation", "judge"): ("judge", detectors),
}


def explain_validation(path: Path, error: ValidationError, content: Mapping[str, Any]) -> str:
    """All problems that pydantic found, one line each."""
    lines = [_line(problem["loc"], problem["type"], problem, content) for problem in problems(error)]
    return "\n".join(f"{path}: {line}" for line in lines)


def problems(error: ValidationError) -> list[ErrorDetails]:
    """What pydantic found, but for lists that are called too short only because an entry of theirs is wrong."""
    found = error.errors()

    def follows(problem: ErrorDetails) -> bool:
        loc = problem["loc"]
        within = (other["loc"] for other in found if other is not problem)
        return problem["type"] == "too_short" and any(other[: len(loc)] == loc for other in within)

    return [problem for problem in found if not follows(problem)]


def first_problem(error: ValidationError, reader: str, known: Sequence[str]) -> str:
    """The first problem of settings that were given by themselves, in one line; ``reader`` knows the keys ``known``."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}"
    guess = nearest(key, known)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{reader} reads no {key!r}; {hint}choices: {', '.join(known) or 'none'}"


def explain_composition(path: Path, error: Exception, options: Mapping[str, Sequence[str]]) -> str:
    """What Hydra could not put together, with the nearest option of the group."""
    text = str(error)
    missing = re.search(r"'(?P<group>[\w]+)/(?P<name>[^']+)'", text)
    if missing and missing["group"] in options:
        group, name = missing["group"], missing["name"]
        return f"{path}: {group}: no {name!r}; {_choices(name, options[group])}"
    absent = re.search(r"Could not (?:load|find) '([^']+)'", text)
    if absent:
        return f"{path}: defaults: no file {absent[1]!r} beside it or in the package; start from `base`"
    first = " ".join(line.strip() for line in text.splitlines()[:2]).removeprefix("In 'unimm_arm': ")
    return f"{path}: {first}"


def _line(loc: tuple[int | str, ...], kind: str, problem: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in loc)
    if kind == "extra_forbidden":
        return _unknown(loc, key, content)
    if kind == "missing":
        advice = "" if loc[0] in (*COMPONENTS, "stages", "evaluation") else ", or start the defaults list with `base`"
        return f"{key}: is required; set it{advice}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float) and kind != "value_error" else ""
    return f"{key}: {message}{shown}"


def _unknown(loc: tuple[int | str, ...], key: str, content: Mapping[str, Any]) -> str:
    leaf = str(loc[-1])
    owner, fields = _fields(loc[:-1], content)
    reader = None if loc[:2] in LISTS else _reader(leaf, str(loc[0]))
    where = f"; {reader}" if reader else ""
    valid = _choices(leaf, fields) if fields else "it has no settings"
    return f"{key}: {owner} reads no {leaf!r}{where}; {valid}"


def _fields(parents: tuple[int | str, ...], content: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Who owns the unknown key, and the settings that this owner has."""
    if not parents:
        return "a run", list(RunConfig.model_fields)
    group, node, owner = str(parents[0]), content, None
    for depth, parent in enumerate(parents):
        if parent != 0 or isinstance(node, list):  # one that stands for a list of one has no number
            node = node[parent]  # type: ignore[index]
        if depth == 2 and parents[:2] in LISTS:
            return _listed(parents, node)
        if parent in COMPONENTS:
            owner = str(parent), node
    if owner is not None:  # the innermost one: a mixture's parts hold sources of their own
        kind, choice = owner
        return _component(kind, COMPONENTS[kind], choice)
    if group == "stages":
        return f"stage {parents[1]}", list(StageConfig.model_fields)
    model = RunConfig.model_fields[group].annotation
    assert _is_section(model), "only sections hold unknown keys"
    return group, list(model.model_fields)


def _listed(parents: tuple[int | str, ...], choice: Any) -> tuple[str, list[str]]:
    """One of a list of components, or a section of its settings."""
    kind, registry = LISTS[parents[:2]]
    owner, fields = _component(kind, registry, choice)
    if len(parents) == 3:
        return owner, fields
    section = registry.config_class(str(choice["name"])).model_fields[str(parents[3])].annotation
    return f"{parents[3]} of {owner}", list(section.model_fields) if _is_section(section) else []


def _component(kind: str, registry: Registry[Any], choice: Any) -> tuple[str, list[str]]:
    name = choice if isinstance(choice, str) else choice.get("name")
    if name is None:
        return f"a {kind} without a name", ["name"]
    return f"{kind} {name}", list(registry.config_class(str(name)).model_fields)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _reader(leaf: str, group: str) -> str | None:
    """Where a misplaced setting belongs: another section, or another component of the same kind."""
    for section, field in RunConfig.model_fields.items():
        model = field.annotation
        if section not in COMPONENTS and _is_section(model) and leaf in model.model_fields:
            return f"it belongs to {section}.{leaf}"
    kinds = {group: COMPONENTS[group]} if group in COMPONENTS else COMPONENTS
    for component, registry in kinds.items():
        for name in registry.names():
            try:
                fields = registry.config_class(name).model_fields
            except (ValueError, ImportError):
                continue
            if leaf in fields:
                return f"{component} {name} reads {component}.{leaf}"
    return None


def _choices(word: str, options: Sequence[str]) -> str:
    guess = nearest(word, options)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{hint}choices: {', '.join(options)}"
