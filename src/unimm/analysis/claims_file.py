"""Reads a claims file; whatever is wrong is a ValueError that names the claim, the key and the nearest valid choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from unimm.analysis.claims import Claim, Claims
from unimm.registry import nearest
from unimm.strict_yaml import read_yaml

# Kind as written in the file -> its model.
_KINDS = {get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(Claim)}


@dataclass(frozen=True)
class Vocabulary:
    """The names that a study knows."""

    arms: Collection[str]
    metrics: Collection[str]
    guards: Collection[str]
    facts: Collection[str]


def read_claims(path: Path, known: Vocabulary) -> Claims:
    """The claims in a YAML file, all their names known to the study.

    Raises:
        ValueError: one line for each problem, with the claim, the key and the nearest valid choice.
    """
    content = read_yaml(path)
    try:
        claims = Claims.model_validate(content)
    except ValidationError as error:
        problems = [_line(problem["loc"], problem, content) for problem in error.errors()]
    else:
        problems = _unknown_names(claims, known)
    if problems:
        raise ValueError("\n".join(f"{path}: {problem}" for problem in problems))
    return claims


def _unknown_names(claims: Claims, known: Vocabulary) -> list[str]:
    problems = []
    for claim in claims.claims:
        for key, kind, name in claim.references():
            names = getattr(known, kind)
            if name not in names:
                problems.append(f"claim {claim.id!r}: {key}: no {name!r} in {kind}; {_choices(name, names)}")
    return problems


def _line(loc: tuple[int | str, ...], problem: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """One problem of pydantic's in words; `loc` is ("claims", position, kind, key, ...) inside a claim."""
    if len(loc) < 2 or loc[0] != "claims":
        return _explain(".".join(map(str, loc)), problem, Claims.model_fields)
    claim = content["claims"][loc[1]]
    name = claim.get("id") if isinstance(claim, Mapping) else None
    owner = f"claim {name!r}" if name else f"claim number {int(loc[1]) + 1}"
    key = ".".join(map(str, loc[3:])) or "kind"
    fields = _KINDS[str(loc[2])].model_fields if len(loc) > 2 else _KINDS
    return f"{owner}: {_explain(key, problem, fields)}"


def _explain(key: str, problem: Mapping[str, Any], fields: Collection[str]) -> str:
    """What is wrong with `key`, whose owner reads `fields`."""
    kind, context = problem["type"], problem.get("ctx", {})
    given = f" (given: {problem['input']!r})" if isinstance(problem["input"], str | int | float) else ""
    explained = {
        "extra_forbidden": f"{key}: nothing reads this key; {_choices(key, fields)}",
        "missing": f"{key}: is required",
        "union_tag_invalid": f"{key}: no {context.get('tag')!r}; {_choices(str(context.get('tag')), fields)}",
        "union_tag_not_found": f"{key}: is required; choices: {', '.join(fields)}",
        "literal_error": f"{key}: expected {context.get('expected')}{_guess(problem)}{given}",
        "value_error": f"{key}: {context.get('error')}".removeprefix(": "),
    }
    return explained.get(kind, f"{key}: {problem['msg']}{given}")


def _guess(problem: Mapping[str, Any]) -> str:
    choices = str(problem.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    guess = nearest(str(problem["input"]), choices)
    return f"; did you mean {guess!r}?" if guess else ""


def _choices(word: str, options: Collection[str]) -> str:
    guess = nearest(word, options)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"{hint}choices: {', '.join(options)}"
