"""What a shell completes: arms, studies, presets, kinds and names of components, and settings as `key=value`.

Typer asks these functions with what stands before the cursor. They import no torch: keys of a run are its schema's, and
those of components are read off their source files (`unimm.class_sources`).

bash cuts a line at `=` (COMP_WORDBREAKS): of `encoder=op` it hands over `encoder`, `=` and `op` and replaces the last
one alone, where zsh hands over and replaces the whole word. A single candidate gets a space after it, so a key that has
been found is offered beside `key=value`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

ABLATIONS = Path("ablations")
PACKAGED = Path(__file__).parent / "configs"
GROUPS = ("profile", "settings")
SWITCH = ("true", "false")

Candidates = list[tuple[str, str]]


class Key(NamedTuple):
    """What is known of a setting: the values that it can have, or its default alone, and what it means."""

    values: Sequence[str]
    help: str = ""


def arms(incomplete: str) -> list[str]:
    """Arm files of the repository, and other YAML files that begin like this."""
    return _files(incomplete, "*.yaml")


def studies(incomplete: str) -> list[str]:
    """Study files of the repository, and other YAML files that begin like this."""
    return [path for path in _files(incomplete, "studies/*.yaml") if not path.endswith("claims.yaml")]


def arms_and_presets(incomplete: str) -> list[str]:
    """Names of presets, and `arms`."""
    return [*sorted(path.stem for path in (ABLATIONS / "presets").glob("*.yaml")), *arms(incomplete)]


def kinds(incomplete: str) -> list[str]:
    """Kinds of components, ``scores`` and ``targets``."""
    from unimm.registry import KINDS

    return [*KINDS, "scores", "targets"]


def names(ctx: typer.Context, incomplete: str) -> Candidates:
    """Components of the kind that stands before."""
    from unimm.registry import KINDS

    registry = KINDS.get(str(ctx.params.get("kind")))
    return [] if registry is None else [(name, registry.describe(name)) for name in registry.names()]


def checkable(incomplete: str) -> Candidates:
    """Components that `unimm check-component` knows how to check."""
    from unimm.registry import KINDS

    kinds = [KINDS[kind] for kind in ("encoders", "objectives", "heads", "backbones", "metrics")]
    return [(name, registry.describe(name)) for registry in kinds for name in registry.names()]


def overrides(ctx: typer.Context, incomplete: str) -> Candidates:
    """Keys of a run and their values."""
    before = [str(word) for word in ctx.params.get("overrides") or ()]
    given = dict(word.partition("=")[::2] for word in _joined(before))
    arm = ctx.params.get("arm")
    keys = _keys(None if arm is None else Path(str(arm)), given)
    key, equals, _ = incomplete.partition("=")
    if equals:
        return _values(keys, key, f"{key}=")
    cut_off = _cut_off(before, incomplete, keys)
    if cut_off is not None:
        return _values(keys, cut_off, "")
    found = [name for name in keys if name.startswith(incomplete)]
    offered = [(f"{name}=", keys[name].help) for name in found]
    return offered + _values(keys, found[0], f"{found[0]}=") if len(found) == 1 else offered


Arm = Annotated[Path, typer.Argument(help="YAML file of the arm.", metavar="ARM.yaml", autocompletion=arms)]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", autocompletion=overrides)]


def _files(incomplete: str, pattern: str) -> list[str]:
    """YAML files that begin like this; the repository's own ones only, as long as nothing else was begun."""
    own = [str(path) for path in sorted(ABLATIONS.glob(pattern))]
    begun = [path for path in own if path.startswith(incomplete)]
    return begun or sorted(glob.glob(f"{glob.escape(incomplete)}*.yaml")) if incomplete else own


def _joined(words: Sequence[str]) -> list[str]:
    """Settings as they were typed, where a shell cut them at ``=``."""
    found: list[str] = []
    for number, word in enumerate(words):
        if found and (word == "=" or words[number - 1] == "="):
            found[-1] += word
        else:
            found.append(word)
    return found


def _cut_off(before: Sequence[str], incomplete: str, keys: Mapping[str, Key]) -> str | None:
    """The key to whose value bash has reduced the word that is completed, if it has; Typer takes a last `=` away."""
    if before[-1:] == ["="]:
        return before[-2] if len(before) > 1 else None
    return before[-1] if before and not incomplete and before[-1] in keys else None


def _values(keys: Mapping[str, Key], key: str, prefix: str) -> Candidates:
    """What a key can be set to; nothing for one that is not known."""
    return [(f"{prefix}{value}", keys[key].help) for value in keys[key].values] if key in keys else []


def _keys(arm: Path | None, given: Mapping[str, str]) -> dict[str, Key]:
    """Every key of a run of this arm with these settings."""
    from unimm.schema import COMPONENTS, RunConfig

    keys = {name: Key(sorted(path.stem for path in (PACKAGED / name).glob("*.yaml"))) for name in GROUPS}
    for name, key in _schema(RunConfig).items():
        keys.setdefault(name, key)
    for component, registry in COMPONENTS.items():
        keys[component] = Key(registry.names(), f"one of `unimm list {registry.kind}`")
        for setting in _settings(registry, _chosen(arm, component, given)):
            keys[f"{component}.{setting.name}"] = Key(_offered(setting.type, setting.default), setting.meaning)
    return keys


def _schema(model: type[BaseModel], prefix: str = "") -> dict[str, Key]:
    """Keys of the settings that belong to no component, with dots."""
    from unimm.component_config import Strict
    from unimm.schema import Choice

    found: dict[str, Key] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if kind is Choice:
            continue
        if isinstance(kind, type) and issubclass(kind, Strict):
            found |= _schema(kind, f"{prefix}{name}.")
        elif get_origin(kind) is Literal:
            found[prefix + name] = Key(get_args(kind))
        else:
            default = None if field.is_required() else field.default
            found[prefix + name] = Key(SWITCH if kind is bool else _shown(default))
    return found


def _settings(registry: Any, name: str | None) -> Iterable[Any]:
    """Settings of a component; none where it is not known, as a name that is being typed."""
    try:
        return () if name is None else registry.source(name).settings()
    except ValueError:
        return ()


def _offered(kind: str, default: Any) -> Sequence[str]:
    """Values of a setting whose type is written like this."""
    if kind == "bool":
        return SWITCH
    if kind.startswith("Literal["):
        return [word.strip().strip("'\"") for word in kind.removeprefix("Literal[").rstrip("]").split(",")]
    return _shown(default)


def _shown(default: Any) -> Sequence[str]:
    """A default as it would be typed, where that is one word."""
    return (str(default),) if isinstance(default, str | int | float) and str(default) else ()


def _chosen(arm: Path | None, component: str, given: Mapping[str, str]) -> str | None:
    """The component that a run would have: as set on the command line, in the arm's file, or in the packaged base."""
    from unimm.config_parents import name_in

    named = given.get(component) or given.get(f"{component}.name")
    files = [PACKAGED / "base.yaml"] if arm is None else [arm, PACKAGED / "base.yaml"]
    return named or next(filter(None, (name_in(_content(file), component) for file in files)), None)


@cache
def _content(file: Path) -> Mapping[str, Any]:
    """What an arm's file says; nothing where it cannot be read, which is no time to complain."""
    from unimm.strict_yaml import read_yaml

    try:
        return read_yaml(file)
    except (ValueError, OSError):
        return {}
