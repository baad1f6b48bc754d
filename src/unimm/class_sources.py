"""What classes say about themselves, read off their source files: the first line of a docstring, and their settings.

Components import torch, which takes seconds. Lists, help and completion in a shell have to answer at once, so they read
the text of a class instead of importing it (`ast`). Names are followed to where they are defined, within unimm and the
class's own package; bases from elsewhere (torch, pydantic) add no settings. What a setting means is written in the
docstring of its ``Config``, as in "``patch``: pixels a side of one token; ``resolution``: null for the data's".
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

MEANING = re.compile(r"((?:``\w+``(?:, | and )?)+): ")
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >="}


class Setting(NamedTuple):
    """One setting: its type as it is written, whether it has to be given, its default, its bounds and its meaning.

    A default that is no literal is the text of its expression.
    """

    name: str
    type: str
    required: bool
    default: Any
    bounds: str
    meaning: str


class ClassSource(NamedTuple):
    """A class and the module in which it stands."""

    module: str
    node: ast.ClassDef

    @property
    def doc(self) -> str:
        """Its docstring, without indentation."""
        return ast.get_docstring(self.node) or ""

    def lineage(self) -> Iterator[ClassSource]:
        """The class and those it derives from, nearest first, as far as their sources are followed."""
        yield self
        for base in self.node.bases:
            found = _resolve(base, self.module)
            if found is not None:
                yield from found.lineage()

    def member(self, name: str) -> ClassSource | None:
        """The class that it holds as ``name``, nested or assigned, its own or an ancestor's."""
        for part in self.lineage():
            for statement in part.node.body:
                if isinstance(statement, ast.ClassDef) and statement.name == name:
                    return ClassSource(part.module, statement)
                if isinstance(statement, ast.Assign) and name in map(ast.unparse, statement.targets):
                    return _resolve(statement.value, part.module)
        return None

    def own(self, name: str) -> Any:
        """The literal to which the class itself sets ``name``; None where it does not, or only inherits it."""
        for statement in self.node.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if name in [target.id for target in targets if isinstance(target, ast.Name)]:
                value = getattr(statement, "value", None)
                return None if value is None else _literal(value)
        return None

    def settings(self) -> list[Setting]:
        """The settings of its ``Config``, those of ancestors first, as pydantic orders them."""
        config = self.member("Config")
        parts = [] if config is None else list(config.lineage())
        meanings: dict[str, str] = {}
        found: dict[str, Setting] = {}
        for part in reversed(parts):
            meanings |= _meanings(part.doc)
            found |= dict(map(_field, _annotated(part.node)))
        return [field._replace(meaning=meanings.get(name, "")) for name, field in found.items()]


def find(target: str) -> ClassSource | None:
    """The class at "module:attribute"; None where its source cannot be followed. Imports its packages at most."""
    module, _, attribute = target.partition(":")
    found = _named(attribute.partition(".")[0], module)
    for name in attribute.split(".")[1:]:
        found = None if found is None else found.member(name)
    return found


def _annotated(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """The fields of a settings class."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and not ast.unparse(statement.annotation).startswith("ClassVar"):
            yield statement


def _field(statement: ast.AnnAssign) -> tuple[str, Setting]:
    name, value = ast.unparse(statement.target), statement.value
    bounds = ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        limits = [f"{sign} {ast.unparse(given[key])}" for key, sign in BOUNDS.items() if key in given]
        bounds = ", ".join(limits)
        value = value.args[0] if value.args else given.get("default", given.get("default_factory"))
    required = value is None or ast.unparse(value) == "..."
    default = None if value is None or required else _literal(value)
    return name, Setting(name, ast.unparse(statement.annotation), required, default, bounds, "")


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)


def _meanings(doc: str) -> dict[str, str]:
    """Meanings by name; what several names share before one colon is said of each."""
    found: dict[str, str] = {}
    for paragraph in doc.split("\n\n"):
        _, *pieces = MEANING.split(" ".join(paragraph.split()))
        for names, text in zip(pieces[::2], pieces[1::2], strict=True):
            found |= dict.fromkeys(re.findall(r"\w+", names), text.strip().rstrip(";.,"))
    return found


def _resolve(expression: ast.expr, module: str) -> ClassSource | None:
    """The class that an expression of a module names: ``Name``, ``Outer.Inner`` or ``module.Name``."""
    if isinstance(expression, ast.Subscript):  # Generic[...] of a class
        return _resolve(expression.value, module)
    if isinstance(expression, ast.Name):
        return _named(expression.id, module)
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        outer = _named(expression.value.id, module)
        if outer is not None:
            return outer.member(expression.attr)
        origin, name = _imports(module).get(expression.value.id, ("", ""))
        imported = f"{origin}.{name}".rstrip(".")
        return _named(expression.attr, imported) if _followed(imported, module) else None
    return None


def _named(name: str, module: str) -> ClassSource | None:
    """The class of this name in a module, defined there or imported from where it is followed."""
    for statement in _tree(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return ClassSource(module, statement)
    origin, original = _imports(module).get(name, ("", ""))
    return _named(original, origin) if original and _followed(origin, module) else None


def _followed(origin: str, module: str) -> bool:
    """Whether a name that a module imports is looked up: to find a module imports its packages, and torch is one."""
    return origin.partition(".")[0] in ("unimm", module.partition(".")[0])


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """What a module's names stand for: (module, name in it), and (module, "") for a module itself."""
    found: dict[str, tuple[str, str]] = {}
    for statement in ast.walk(_tree(module)):
        if isinstance(statement, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * statement.level + (statement.module or ""), _package(module))
            found |= {alias.asname or alias.name: (origin, alias.name) for alias in statement.names}
        elif isinstance(statement, ast.Import):
            found |= {alias.asname: (alias.name, "") for alias in statement.names if alias.asname}
    return found


@cache
def _tree(module: str) -> ast.Module:
    """The module's syntax; empty where it has no source file."""
    path = _file(module)
    return ast.parse("" if path is None else path.read_text(encoding="utf-8"))


def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _package(module: str) -> str:
    """The package that relative imports of a module start from."""
    path = _file(module)
    return module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
