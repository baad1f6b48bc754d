"""The files that an arm's defaults list builds on, read as the arm itself is before Hydra reads them.

Hydra has a YAML loader of its own, closer to YAML 1.1: there `1:30` is 90. A file that the two read differently is
refused with its key, and so are files that name themselves or each other in a circle, on which Hydra recurses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from unimm.files import read_text
from unimm.strict_yaml import ConfigError, read_yaml

KEPT = 64
_alike: set[str] = set()  # texts of files that both readers read alike


def check_defaults_list(path: Path, content: Mapping[str, Any]) -> None:
    """ConfigError for a defaults list that is none, or has an entry that is no name; and for what Hydra alone reads."""
    if "hydra" in content:
        raise ConfigError(f"{path}: hydra: hydra's own settings are not used here; take them out")
    entries = content.get("defaults", [])
    if not isinstance(entries, list) or not all(isinstance(entry, str | Mapping) for entry in entries):
        raise ConfigError(f"{path}: defaults: expected a list of names and `group: name`, as in [base, _self_]")


def check_parents(path: Path, content: Mapping[str, Any], folders: Sequence[Path]) -> None:
    """Check every file that ``content`` of the file ``path`` builds on; groups are looked for in ``folders``.

    Raises:
        ConfigError: names the file that is no YAML, is read otherwise by Hydra, or is part of a circle.
    """
    _check(path.resolve(), content, folders, "", [])


def _check(path: Path, content: Mapping[str, Any], folders: Sequence[Path], group: str, children: list[Path]) -> None:
    check_defaults_list(path, content)
    if path in children:
        circle = " -> ".join(file.name for file in [*children[children.index(path) :], path])
        raise ConfigError(f"{path}: defaults: {circle} is a circle: take a name out of one of the lists")
    for name, place in _parents(content, folders, group):
        found = read_yaml(place)
        _check_alike(place, found)
        _check(place, found, folders, name.rpartition("/")[0], [*children, path])


def _parents(content: Mapping[str, Any], folders: Sequence[Path], group: str) -> Iterator[tuple[str, Path]]:
    """Name and file of every entry of a defaults list that is a file: within its own group first, as Hydra looks."""
    for entry in content.get("defaults", []):
        chosen = {entry: None} if isinstance(entry, str) else entry
        for key, value in chosen.items():
            words = key.removeprefix("override ").removeprefix("optional ").partition("@")[0].strip()
            name = words if value is None else f"{words}/{value}"
            places = [name.lstrip("/"), f"{group}/{name}"] if group else [name.lstrip("/")]
            files = ((place, folder / f"{place.removesuffix('.yaml')}.yaml") for folder in folders for place in places)
            found = next(((place, file) for place, file in files if file.is_file()), None)
            if found is not None:
                yield found[0], found[1].resolve()


def _check_alike(path: Path, content: Mapping[str, Any]) -> None:
    """ConfigError where Hydra's reading of the file is another one; a text is compared once."""
    text = read_text(path)
    if text in _alike:
        return
    composed = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    key = _different(content, composed)
    if key is not None:
        raise ConfigError(f"{path}: {key}: a word there is read in two ways, as text and as a number or yes: quote it")
    if len(_alike) >= KEPT:
        _alike.clear()
    _alike.add(text)


def _different(first: Any, second: Any, prefix: str = "") -> str | None:
    """The first dotted key at which two values are not the same in value and type."""
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.keys() == second.keys():
        below = (_different(first[key], second[key], f"{prefix}.{key}".lstrip(".")) for key in first)
        return next((key for key in below if key is not None), None)
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        below = (_different(*pair, prefix) for pair in zip(first, second, strict=True))
        return next((key for key in below if key is not None), None)
    return None if type(first) is type(second) and first == second else prefix


def name_in(arm: Mapping[str, Any], component: str) -> str | None:
    """The component name that an arm file itself chooses, in its body or its defaults list."""
    body = arm.get(component)
    if isinstance(body, str):
        return body
    if isinstance(body, Mapping) and "name" in body:
        return cast("str", body["name"])
    for entry in arm.get("defaults", []):
        if isinstance(entry, Mapping):
            for key, value in entry.items():
                if key.removeprefix("override ") == component:
                    return cast("str", value)
    return None
