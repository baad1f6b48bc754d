"""Hydra's composition of an arm's content, files and overrides, kept for the next arm that is composed of the same.

Hydra merges twenty files at every call, most of them its own. That takes 0.2 s, for each arm of a study and each load
of a test. So what comes of the files and the choices of profile and settings is kept, and the values of other overrides
are put into a copy of it, as Hydra does. It is kept by content: the arm, those choices, the names of components, and
the bytes of every file that Hydra may look for, which are read anew at every call. A file that changes, appears or
disappears, or a component that is registered later, makes another composition. Where it is not certain which files
Hydra reads, and where anything fails, Hydra gets everything at once and says what is wrong.
"""

from __future__ import annotations

import copy
import os.path
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unimm.config_errors import explain_composition
from unimm.schema import COMPONENTS
from unimm.strict_yaml import ConfigError, read_yaml

FILE_GROUPS = ("profile", "settings")
KEPT = 64  # compositions; a study has some arms under one profile
FAILURES = (HydraException, OmegaConfBaseException, ValueError)  # ValueError: of a defaults list's words
_PRIMARY = "unimm_arm"
_kept: dict[_Parts, DictConfig] = {}


class _Parts(NamedTuple):
    """All that a composition without values from the command line depends on."""

    arm: str
    choices: tuple[str, ...]
    components: tuple[tuple[str, ...], ...]
    files: tuple[tuple[str, bytes | None], ...]


class _Unsure(Exception):
    """Only Hydra knows which files these are, or what an override is about."""


def composed(path: Path, arm: dict[str, Any], overrides: list[str], folders: list[Path]) -> dict[str, Any]:
    """The content of an arm as Hydra puts it together, resolved; groups are looked for in ``folders``.

    Raises:
        ConfigError: what Hydra could not put together, with the file and the nearest choice.
    """
    with suppress(_Unsure, OSError, *FAILURES):
        return _plain(_from_kept(arm, overrides, folders))
    try:
        return _plain(_by_hydra(arm, overrides, folders))
    except FAILURES as error:
        choices = {group: options(group, folders) for group in FILE_GROUPS}
        choices |= {component: registry.names() for component, registry in COMPONENTS.items()}
        raise ConfigError(explain_composition(path, error, choices)) from error


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """Names of the files of a group such as `profile`."""
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def _by_hydra(arm: dict[str, Any], overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    store = ConfigStore.instance()
    for component, registry in COMPONENTS.items():
        for name in registry.names():
            store.store(group=component, name=name, node={"name": name})
    search = ", ".join(_quote(f"file://{folder}") for folder in folders[1:])
    store.store(name=_PRIMARY, node=OmegaConf.create(arm))
    with initialize_config_dir(str(folders[0]), version_base="1.3"):
        return compose(_PRIMARY, overrides=[*overrides, f"hydra.searchpath=[{search}]"])


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _from_kept(arm: dict[str, Any], overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    """A composition of its own for the caller: a copy of the kept one, into which the overrides' values are put."""
    choices, values = _split(overrides, folders)
    names = [*_named(arm, ""), *(f"{choice.key_or_group}/{_text(choice.value())}" for choice in choices)]
    chosen = tuple(str(choice.input_line) for choice in choices)
    components = tuple(tuple(registry.names()) for registry in COMPONENTS.values())
    parts = _Parts(repr(arm), chosen, components, tuple(_files(names, folders)))
    kept = _kept.get(parts)
    if kept is None:
        kept = _by_hydra(arm, chosen, folders)
        if len(_kept) >= KEPT:
            _kept.clear()
        _kept[parts] = kept
    config = copy.deepcopy(kept)
    for value in values:
        OmegaConf.update(config, value.key_or_group, value.value(), merge=True, force_add=True)
    return config


def _split(overrides: Sequence[str], folders: Sequence[Path]) -> tuple[list[Override], list[Override]]:
    """Overrides that choose a file, and those that only set a value, in their order."""
    choices, values = [], []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key in FILE_GROUPS and not override.is_force_add() and override.package is None:
            choices.append(override)
        elif override.is_force_add() and override.package is None and not _is_group(key, folders):
            values.append(override)
        else:
            raise _Unsure
    return choices, values


def _is_group(key: str, folders: Sequence[Path]) -> bool:
    return key in COMPONENTS or any(os.path.isdir(folder / key) for folder in folders)


def _files(names: Iterable[str], folders: Sequence[Path]) -> Iterator[tuple[str, bytes | None]]:
    """Every file that may be read for these names: its place, and its bytes if there is one."""
    if not all(folder.is_dir() for folder in folders):  # of which Hydra warns
        raise _Unsure
    waiting = list(names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for number, folder in enumerate(folders):
            file = folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
            there = file.is_file()
            yield f"{number}/{name}", file.read_bytes() if there else None
            if there:
                waiting += _named(read_yaml(file), name.rpartition("/")[0])


def _named(content: Mapping[str, Any], group: str) -> Iterator[str]:
    """Names of all files that the defaults list of a file in ``group`` may mean; more than it means is no harm."""
    entries = content.get("defaults", [])
    if not isinstance(entries, list):
        raise _Unsure
    for entry in entries:
        for key, value in entry.items() if isinstance(entry, Mapping) else [(entry, None)]:
            words = _text(key).partition("@")[0].split(" ")[-1].strip("/")
            for part in value if isinstance(value, list) else [value]:
                name = words if part is None else f"{words}/{_text(part)}"
                yield name
                yield from (f"{above}/{name}" for above in _folders_above(group))


def _folders_above(group: str) -> list[str]:
    parts = [part for part in group.split("/") if part]
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _text(name: Any) -> str:
    """A name as it stands; one that is none, or is put together from others, only Hydra understands."""
    if not isinstance(name, str) or "${" in name or "???" in name:
        raise _Unsure
    return name
