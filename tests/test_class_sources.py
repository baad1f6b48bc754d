"""What is read off source files is what the classes say once they are imported; and no torch is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unimm.class_sources import find
from unimm.registry import KINDS

ALL = [(kind, name) for kind, registry in KINDS.items() for name in registry.names()]
WITH_SETTINGS = [(kind, name) for kind, name in ALL if kind != "decoders"]


@pytest.mark.parametrize(("kind", "name"), WITH_SETTINGS)
def test_settings_of_built_in_components_are_those_of_their_classes(kind: str, name: str) -> None:
    config = KINDS[kind].config_class(name)
    found = {setting.name: setting for setting in KINDS[kind].source(name).settings()}
    assert list(found) == list(config.model_fields)
    for key, field in config.model_fields.items():
        assert found[key].required == field.is_required(), key
        if not field.is_required():
            assert field.default in (found[key].default, _evaluated(found[key].default, config)), key


def _evaluated(text: Any, config: type) -> Any:
    """The value of a default that is an expression, such as the name of a constant."""
    if not isinstance(text, str):
        return text
    for part in config.__mro__:
        try:
            return eval(text, dict(vars(sys.modules[part.__module__])))
        except (NameError, SyntaxError):
            continue
    return text


@pytest.mark.parametrize(("kind", "name"), WITH_SETTINGS)
def test_every_setting_of_a_built_in_component_is_described(kind: str, name: str) -> None:
    silent = [setting.name for setting in KINDS[kind].source(name).settings() if not setting.meaning]
    assert not silent, "say in the docstring of the Config what ``name``: is"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_first_line_is_that_of_the_docstring(kind: str, name: str) -> None:
    assert KINDS[kind].describe(name) == (KINDS[kind].get(name).__doc__ or "").strip().splitlines()[0]


def test_nothing_that_takes_seconds_is_imported() -> None:
    code = (
        "import sys\n"
        "from unimm import listing\n"
        "from unimm.registry import KINDS\n"
        "for kind, registry in KINDS.items():\n"
        "    for name in registry.names():\n"
        "        assert listing.component(kind, name)['description']\n"
        "heavy = {'torch', 'transformers', 'numpy', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PACKAGE = {
    "__init__.py": "",
    "base.py": '''
from pydantic import Field
from unimm.component_config import ComponentConfig

class Shared(ComponentConfig):
    """``side``: in pixels; ``names``, ``words``: what to look for (``x`` is kept).

    ``deep``: goes on
    over lines.
    """

    side: int = Field(8, ge=1, lt=100)
    names: tuple[str, ...] = Field(default_factory=tuple)
    words: str
    deep: float = 1e-3
''',
    "parts.py": '''
"""A plug-in."""
import torch.nn as nn
import unimm_tried.base as base
from .base import Shared as Common

class Outer(nn.Module):
    """Outer.

    More.
    """

    class Config(Common):
        """``own``: its own; ``side``: of the outer one."""

        own: "int | None" = None
        side: int = 9

class Inner(Outer):
    """Inner."""

class Assigned:
    Config = base.Shared
''',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, text in PACKAGE.items():
        file = tmp_path / "unimm_tried" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield "unimm_tried"
    for name in [name for name in sys.modules if name.startswith("unimm_tried")]:
        del sys.modules[name]


def test_settings_are_inherited_and_followed_through_imports(package: str) -> None:
    inner = find(f"{package}.parts:Inner")
    assert inner is not None and inner.doc == "Inner."
    settings = {setting.name: setting for setting in inner.settings()}
    assert list(settings) == ["side", "names", "words", "deep", "own"]
    assert settings["side"][1:] == ("int", False, 9, "", "of the outer one")
    assert settings["words"].required and settings["words"].meaning == "what to look for (``x`` is kept)"
    assert settings["names"].default == "tuple" and settings["names"].meaning == settings["words"].meaning
    assert (settings["deep"].default, settings["deep"].meaning) == (1e-3, "goes on over lines")
    assigned = find(f"{package}.parts:Assigned")
    assert assigned is not None and assigned.settings()[0].bounds == ">= 1, < 100"


def test_what_has_no_source_is_none(package: str) -> None:
    assert find(f"{package}.parts:Absent") is None
    assert find("no_such_package.module:Class") is None
    assert find("builtins:int") is None
    outer = find(f"{package}.parts:Outer.Config")
    assert outer is not None and outer.node.name == "Config"
