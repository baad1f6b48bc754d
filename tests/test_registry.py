"""The registry: lazy lookup, checks, collisions, entry points, the module:Class escape hatch."""

import subprocess
import sys
from abc import ABC, abstractmethod
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from unimm import registry as module
from unimm.component_config import ComponentConfig
from unimm.registry import KINDS, Registry

HERE = Path(__file__).parent


class Shaped(ABC):
    REPLACED: ClassVar[dict[str, tuple[str, str]]] = {"paint": ("draw", "define draw()")}
    corners: ClassVar[int]

    @abstractmethod
    def draw(self) -> None: ...


class Shapeless(Shaped):
    class Config(ComponentConfig):
        pass


class Square(Shapeless):
    corners = 4

    def draw(self) -> None: ...


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    monkeypatch.syspath_prepend(HERE)
    return Registry("encoders", "fake_components:Base", {"clip": "fake_components:Clip", "vae": "fake_components:Vae"})


def test_lookup_gives_the_class_its_settings_and_its_first_docstring_line(fakes: Registry[Any]) -> None:
    assert fakes.names() == ["clip", "vae"]
    assert fakes.get("clip").__name__ == "Clip"
    assert fakes.config_class("clip")().model_dump() == {"standardise": True, "width": 8}
    assert fakes.describe("clip") == "Fake CLIP features."


def test_unknown_name_suggests_the_nearest(fakes: Registry[Any]) -> None:
    with pytest.raises(ValueError, match=r"no 'vea'; did you mean 'vae'\? choices: clip, vae"):
        fakes.get("vea")


def test_registering_a_class_makes_it_available(fakes: Registry[Any]) -> None:
    fakes.register("mine", fakes.get("vae"))
    assert fakes.get("mine") is fakes.get("vae")


def test_a_taken_name_is_an_error_but_registering_the_same_target_again_is_not(fakes: Registry[Any]) -> None:
    fakes.register("clip", "fake_components:Clip")
    with pytest.raises(ValueError, match="'clip' is already fake_components:Clip"):
        fakes.register("clip", "fake_components:Vae")


def test_a_name_with_a_colon_cannot_be_registered(fakes: Registry[Any]) -> None:
    with pytest.raises(ValueError, match="without a colon"):
        fakes.register("a:b", "fake_components:Vae")


def test_escape_hatch_finds_an_unregistered_class_and_still_checks_it(fakes: Registry[Any]) -> None:
    assert fakes.get("fake_components:Plain").__name__ == "Plain"
    with pytest.raises(ValueError, match=r"subclass of fake_components\.Base"):
        fakes.get("fake_components:Stranger")
    with pytest.raises(ValueError, match=r"nest `class Config\(ComponentConfig\)`"):
        fakes.get("fake_components:Unconfigured")
    with pytest.raises(ValueError, match="cannot load 'fake_components:Absent'"):
        fakes.get("fake_components:Absent")
    with pytest.raises(ValueError, match="cannot load 'no_such_package:Absent'"):
        fakes.get("no_such_package:Absent")


def test_missing_members_are_named_in_one_line(fakes: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "_base", Shaped)
    with pytest.raises(ValueError, match=r"^encoders: 'mine' lacks corners, draw: define them \(\S+Shaped says"):
        fakes.register("mine", Shapeless)
    assert "mine" not in fakes.names()
    with pytest.raises(ValueError, match=r"lacks corners: define it"):
        fakes.register("mine", type("Drawn", (Shapeless,), {"draw": lambda self: None}))


def test_a_member_that_was_replaced_says_by_what(fakes: Registry[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "_base", Shaped)
    with pytest.raises(ValueError, match=r"'mine' defines paint\(\), which nothing reads any more: define draw\(\)"):
        fakes.register("mine", type("Old", (Square,), {"paint": lambda self: None}))
    both = type("Both", (Square,), {"paint": lambda self: None, "draw": lambda self: None})
    fakes.register("both", both)
    assert fakes.get("both") is both


def test_ancestors_are_found_among_names_of_other_kinds_of_spelling(fakes: Registry[Any]) -> None:
    fakes.register("wider", type("Wider", (fakes.get("clip"),), {}))
    assert fakes.ancestors("wider", ["wider", "vae", "clip", "no_such_package:Absent"]) == ["clip", "wider"]
    assert fakes.ancestors("fake_components:Clip", ["clip"]) == ["clip"]


def test_entry_points_add_names_and_collisions_are_errors(
    fakes: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [EntryPoint("plugged", "fake_components:Plain", "unimm.encoders")]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "unimm.encoders" else [])
    assert fakes.names() == ["clip", "plugged", "vae"]
    assert fakes.get("plugged").__name__ == "Plain"
    points[:] = [EntryPoint("clip", "fake_components:Plain", "unimm.encoders")]
    fresh: Registry[Any] = Registry("encoders", "fake_components:Base", {"clip": "fake_components:Clip"})
    with pytest.raises(ValueError, match=r"entry point 'clip'.*collides with fake_components:Clip"):
        fresh.names()


def test_importing_and_listing_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from unimm.registry import KINDS\n"
        "for registry in KINDS.values(): registry.names()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, r in KINDS.items() for name in r.names()])
def test_every_builtin_loads_and_says_what_it_is(kind: str, name: str) -> None:
    assert KINDS[kind].describe(name)
    assert kind == "decoders" or KINDS[kind].config_class(name).model_json_schema()["type"] == "object"


def test_a_kind_holds_names_and_classes_that_derive_from_its_base(fakes: Registry[Any]) -> None:
    assert fakes.holds("clip") and not fakes.holds("vea")
    assert fakes.holds("fake_components:Plain") and not fakes.holds("fake_components:Stranger")
