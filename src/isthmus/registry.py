"""Name -> architecture. A file in `architectures/` is found by being there; its stem is the name in a recipe.

Other packages add theirs by the entry-point group `isthmus.architectures` (name = "package.module").

A recipe must be checked before torch is imported, yet an architecture's settings stand in the file of its module. So
`settings(name)` runs only those statements of the file that need nothing but `isthmus.config`, pydantic and the
standard library's typing: the config class. `get(name)` imports the whole file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import linecache
import pkgutil
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from isthmus.config import Config
from isthmus.errors import RecipeError, closest

if TYPE_CHECKING:
    from isthmus.architecture import Architecture

T = TypeVar("T")
GROUP = "isthmus.architectures"
LIGHT = ("__future__", "collections", "isthmus.config", "isthmus.errors", "pathlib", "pydantic", "typing")


@cache
def _places() -> dict[str, str]:
    """Name -> dotted module, without importing any of them."""
    folder = Path(__file__).parent / "architectures"
    ours = {found.name: f"isthmus.architectures.{found.name}" for found in pkgutil.iter_modules([str(folder)])}
    theirs = {point.name: point.value for point in entry_points(group=GROUP)}
    if clash := sorted(set(ours) & set(theirs)):
        raise RecipeError("two architectures have one name", where=GROUP, met=clash[0])
    return dict(sorted((ours | theirs).items()))


def names() -> list[str]:
    """Every architecture there is, in alphabetical order."""
    return list(_places())


def _place(name: str) -> str:
    if name not in _places():
        hint = closest(name, names())
        raise RecipeError("no such architecture", where="model.name", met=name, hint=hint)
    return _places()[name]


def module_of(name: str) -> ModuleType:
    """The imported file of an architecture."""
    return importlib.import_module(_place(name))


def get(name: str) -> type[Architecture]:
    """The architecture's module class.

    Raises
    ------
    RecipeError
        There is no architecture of this name; the nearest one is named.
    """
    from isthmus.architecture import Architecture

    return _only(module_of(name), Architecture)  # type: ignore[type-abstract]


def config_of(name: str) -> type[Config]:
    """The config class as the architecture's own file defines it (imports torch)."""
    return _only(module_of(name), Config)


def name_of(config: Config) -> str:
    """The name in a recipe of a config's architecture."""
    module = type(config).__module__.removesuffix(":settings")
    return next((n for n, m in _places().items() if m == module), module.rsplit(".", maxsplit=1)[-1])


def public_names() -> dict[str, str]:
    """Config class name (`VAE`) -> name in a recipe (`vae`)."""
    return {settings(name).__name__: name for name in names()}


@cache
def settings(name: str) -> type[Config]:
    """The config class, without importing torch."""
    place = _place(name)
    found = importlib.util.find_spec(place)
    if found is None or found.origin is None:
        raise RecipeError("the architecture's file is not there", where="model.name", met=place)
    text = Path(found.origin).read_text(encoding="utf-8")
    tree = ast.parse(text)
    known: set[str] = set()
    tree.body = [s for s in tree.body if _is_light(s, known)]
    light = ModuleType(f"{place}:settings")
    # a file name of its own: pydantic reads the keys' descriptions from the source of the module that a file belongs to
    light.__file__ = f"{found.origin}:settings"
    linecache.cache[light.__file__] = (len(text), None, text.splitlines(keepends=True), light.__file__)
    sys.modules[light.__name__] = light
    exec(compile(tree, light.__file__, "exec"), light.__dict__)
    return _only(light, Config)


def _is_light(statement: ast.stmt, known: set[str]) -> bool:
    """Whether a top-level statement needs only light imports; adds the names it binds to `known`."""
    match statement:
        case ast.ImportFrom(module=str(module), names=aliases) if module in LIGHT or module.split(".")[0] in LIGHT:
            known.update(a.asname or a.name for a in aliases)
            return True
        case ast.ClassDef(name=name, bases=bases) if any(isinstance(b, ast.Name) and b.id in known for b in bases):
            known.add(name)
            return True
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if _names(value) <= known:
            known.add(name)
            return True
    return False


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _only(module: ModuleType, base: type[T]) -> type[T]:
    """The one public class that a module defines itself below `base`."""
    found = [
        c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, base) and c.__module__ == module.__name__ and not n.startswith("_")
    ]
    if len(found) != 1:
        raise RecipeError(
            f"{len(found)} public classes below {base.__name__}", where=module.__name__, wanted="exactly one"
        )
    return found[0]
