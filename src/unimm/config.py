"""From an arm's YAML file and `key=value` overrides to a validated `RunConfig`.

Hydra reads the defaults lists and the override grammar (`unimm.composing`); pydantic (`unimm.schema`) decides what
is true. Precedence, low to high: the components' own defaults, `component_defaults` of the profile and the
settings group, the arm file, the command line. Choosing another component on the command line drops the keys
that the arm file set for its own choice; another encoder, objective or strategy makes another arm, whose name and
question follow.

Configurations as an earlier unimm stored them, compared by what the present schema makes of them.

A later unimm may add settings whose defaults mean "as before", so that a stored configuration without them is still
the same one. A value that differs is a difference, and a stored key that nothing reads any more is an error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from pydantic import ValidationError

from unimm import arm_words
from unimm.composing import FILE_GROUPS, composed, options
from unimm.config_errors import explain_validation
from unimm.config_parents import check_parents, name_in
from unimm.schema import COMPONENTS, Choice, RunConfig
from unimm.strict_yaml import LEADING_ZERO, ConfigError, check_plain, dump_yaml, leading_zero, read_yaml

__all__ = ["Choice", "ConfigError", "RunConfig", "dump", "load", "read"]

PACKAGED = Path(__file__).parent / "configs"
SHOWN = 200  # characters of an override in a message


def load(path: str | Path, overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> RunConfig:
    """Compose and validate an arm file; groups are found beside it, in `config_dirs` and in the package."""
    path = Path(path)
    written = read_yaml(path)
    _refuse_lists(path, written)
    folders = [path.resolve().parent, *(Path(folder).resolve() for folder in config_dirs), PACKAGED]
    check_parents(path, written, folders)
    arm, translated = _apply_choices(path, written, overrides, folders)
    content = composed(path, arm, translated, folders)
    config = _validate(path, _with_component_defaults(path, content))
    return config.model_copy(update=_own_words(path, written, overrides, folders, config))


def read(path: str | Path) -> RunConfig:
    """Validate a resolved file as `dump` wrote it: nothing is composed."""
    return _validate(Path(path), read_yaml(Path(path)))


def dump(config: RunConfig) -> str:
    """The resolved configuration as YAML, which `read` and `unimm run` accept."""
    return dump_yaml(config.model_dump(mode="json"))


def _apply_choices(
    path: Path, arm: dict[str, Any], overrides: Sequence[str], folders: Sequence[Path]
) -> tuple[dict[str, Any], list[str]]:
    """Drop the arm's keys for components that the overrides replace, and translate overrides for Hydra."""
    choices: list[str] = []
    values: list[str] = []
    for text in overrides:
        key, value = _parse(path, text)
        component = key.removesuffix(".name")
        if component in COMPONENTS:
            if not isinstance(value, str):
                raise ConfigError(f"{path}: {text}: give {component} a name, as in {component}=NAME")
            _check_name(path, component, value)
            if value != name_in(arm, component):
                arm = {entry: content for entry, content in arm.items() if entry != component}
            choices.append(f'++{component}.name="{value}"')
        elif key in FILE_GROUPS and "defaults" in arm:
            if not isinstance(value, str):
                raise ConfigError(f"{path}: {text}: give {key} a name, one of: {', '.join(options(key, folders))}")
            values.append(text.lstrip("+"))
        else:
            values.append("++" + text.lstrip("+"))
    return arm, choices + values


def _own_words(
    path: Path, written: dict[str, Any], overrides: Sequence[str], folders: list[Path], config: RunConfig
) -> dict[str, str]:
    """Name and question of an arm whose encoder, objective or strategy is another than its file says.

    Those that the overrides give themselves stay, and a file that leaves a part open is completed, not changed.
    """
    keys = {_parse(path, text)[0] for text in overrides}
    if keys.isdisjoint(spelling for part in arm_words.PARTS for spelling in (part, f"{part}.name")):
        return {}
    try:
        before = composed(path, written, [], folders)
    except ConfigError:  # the file alone is no arm
        before = {}
    resolved = config.model_dump(mode="json")
    replaced = {}
    for part in arm_words.PARTS:
        chosen, name = before.get(part), resolved[part]["name"]
        if chosen is not None and name != (chosen if isinstance(chosen, str) else chosen.get("name")):
            replaced[part] = name
    if not replaced:
        return {}
    question = arm_words.question(arm_words.phrases(resolved))
    words = {"name": arm_words.renamed(config.name, replaced), "question": question}
    return {key: text for key, text in words.items() if key not in keys}


def _refuse_lists(path: Path, arm: Mapping[str, Any]) -> None:
    for key, value in arm.items():
        if isinstance(value, list) and key != "defaults":
            raise ConfigError(f"{path}: {key}: expected a value or `key: value` settings, not a list")


def _parse(path: Path, text: str) -> tuple[str, Any]:
    try:
        check_plain(text)
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(f"{path}: cannot read {_shortened(text)!r}; {_as_written(text)}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, hundreds of brackets
        raise ConfigError(f"{path}: cannot read {_shortened(text)!r}: {error}") from error
    key = override.key_or_group
    if not key:
        raise ConfigError(f"{path}: cannot read {_shortened(text)!r}; write key=value")
    if override.is_delete():
        raise ConfigError(f"{path}: {text}: settings cannot be deleted; set a value instead")
    if override.is_sweep_override():
        raise ConfigError(f"{path}: {text}: one value per key; a comma or a range makes a sweep, which is a study")
    if key.startswith("hydra"):
        raise ConfigError(f"{path}: {text}: hydra's own settings are not used here")
    _refuse_leading_zeros(path, text, override._value)
    return key, override.value()


def _as_written(text: str) -> str:
    """How to write an override that the grammar refuses: quoted, where that helps."""
    key, equals, value = text.partition("=")
    escaped = re.sub(r'(\\*)"', r"\1\1\"", value)
    quoted = f'{key}="{escaped}"'
    with suppress(HydraException, ValueError, RecursionError):
        if equals and value and OverridesParser.create().parse_override(quoted).value() == value:
            return f"its value has characters that have to be quoted, twice for a shell: {shlex.quote(quoted)}"
    return "write key=value"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _refuse_leading_zeros(path: Path, text: str, value: Any) -> None:
    """Refuse what `strict_yaml` refuses in a file; a text that was quoted is of another class until it is used."""
    if isinstance(value, str) and LEADING_ZERO.fullmatch(value):
        raise ConfigError(f"{path}: {text}: {leading_zero(value)}")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_leading_zeros(path, text, part)


def _check_name(path: Path, component: str, name: str) -> None:
    try:
        COMPONENTS[component].check_name(name)
    except ValueError as error:
        raise ConfigError(f"{path}: {component}: {error}") from error


def _with_component_defaults(path: Path, composed: dict[str, Any]) -> dict[str, Any]:
    """Put `component_defaults: {encoder: {clip: {...}}}` under the explicit keys of the chosen components."""
    defaults = composed.pop("component_defaults", None) or {}
    _check_defaults(path, defaults)
    for component, by_name in defaults.items():
        stages = composed.get("stages")
        owners = [composed, *(stages.values() if isinstance(stages, dict) else ())]
        for owner in [owner for owner in owners if isinstance(owner, dict)]:
            explicit = owner.get(component)
            if isinstance(explicit, str):
                explicit = {"name": explicit}
            if isinstance(explicit, Mapping):
                owner[component] = {**_inherited(component, by_name, explicit.get("name")), **explicit}
    return composed


def _check_defaults(path: Path, defaults: Any) -> None:
    """ConfigError unless they are settings of known names of known components."""
    if not isinstance(defaults, Mapping):
        raise ConfigError(f"{path}: component_defaults: expected `encoder: {{clip: {{key: value}}}}`")
    for component, by_name in defaults.items():
        if component not in COMPONENTS:
            raise ConfigError(f"{path}: component_defaults.{component}: choices: {', '.join(COMPONENTS)}")
        if not isinstance(by_name, Mapping) or not all(isinstance(own, Mapping) for own in by_name.values()):
            raise ConfigError(f"{path}: component_defaults.{component}: expected `NAME: {{key: value}}`")
        for name in by_name:
            _check_name(path, component, name)


def _inherited(component: str, by_name: Mapping[str, Any], name: Any) -> dict[str, Any]:
    """Defaults for the component ``name`` and for those whose class it derives from, of which the nearest wins.

    A class whose own Config lacks a setting of an ancestor's has no use for that one's default.
    """
    registry = COMPONENTS[component]
    try:
        fields = registry.config_class(name).model_fields
        ancestors = registry.ancestors(name, by_name)
    except (ValueError, TypeError):  # validation says what is wrong with the name
        return {}
    found: dict[str, Any] = {}
    for ancestor in ancestors:
        found |= {key: value for key, value in by_name[ancestor].items() if ancestor == name or key in fields}
    return found


def _validate(path: Path, content: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(explain_validation(path, error, content)) from error


ABSENT = object()


class ConfigDifference(NamedTuple):
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


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ConfigDifference]:
    """Every dotted key whose value differs, in the order of the files."""
    old, new = flatten(before), flatten(after)
    pairs = (ConfigDifference(key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in dict.fromkeys([*old, *new]))
    return [change for change in pairs if change.before != change.after]


def shown(value: Any) -> str:
    """A value as a message has it."""
    return "not set" if value is ABSENT else str(value)
