"""Fills the markers of the docs from the code, so that what they list cannot go stale.

    <!-- keys: module:Class -->     a table of the keys that a config class declares
    <!-- architecture: NAME -->     the same, for the architecture of this name in a recipe
    <!-- steps -->                  every preparation step with its options
    <!-- architectures -->          every architecture with the first line of its docstring
    <!-- help: VERB -->             what `isthmus VERB --help` prints; without a verb, `isthmus --help`
    <!-- file: PATH -->             a file of the repository, as a code block
    <!-- floors -->                 the layers that import-linter holds, with their first docstring line

A marker that cannot be filled stops the build.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[2]
MARKER = re.compile(r"^<!-- (keys|architecture|steps|architectures|help|file|floors)(?:: ([^>]*?))? -->$", re.MULTILINE)
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Any: "anything"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls with the text of each page."""
    return MARKER.sub(filled, markdown)


def filled(marker: re.Match[str]) -> str:
    """The text for one marker."""
    kind, argument = marker[1], (marker[2] or "").strip()
    try:
        return FILL[kind](argument)
    except (ImportError, AttributeError, OSError, LookupError) as error:
        raise PluginError(f"docs marker {marker[0]}: {error!r}") from error


def keys(place: str) -> str:
    """Table of a config class named `module:Class`; a nested class is `module:Outer.Inner`."""
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return table(found)


def architecture(name: str) -> str:
    """Table of an architecture's keys."""
    return table(importlib.import_module("isthmus.registry").settings(name))


def table(schema: Any) -> str:
    """Key, type, default, meaning and tuning range of every key a config class declares."""
    if not schema.model_fields:
        return "No keys.\n"
    ranges = schema.tunable()
    rows = [
        [f"`{key}`", words(field.annotation), default(field), cell(field.description or ""), tuned(ranges.get(key))]
        for key, field in schema.model_fields.items()
    ]
    return grid(["key", "value", "default", "meaning", "tuned over"], rows)


def grid(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table; a column that is empty throughout is left out."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def words(kind: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(inner[0])
    if origin is Literal:
        return ", ".join(code(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(i) for i in inner))
    if origin in (tuple, list):
        return f"list ({', '.join(dict.fromkeys(words(i) for i in inner if i is not ...))})"
    if origin is not None and len(inner) == 2:
        return f"mapping ({words(inner[0])} to {words(inner[1])})"
    if kind in (None, NoneType):
        return "`null`"
    if isinstance(kind, type) and hasattr(kind, "model_fields"):
        return f"mapping (keys of `{kind.__name__}`)"
    return WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def default(field: Any) -> str:
    """A default as a recipe writes it; what has none is required."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if hasattr(value, "model_dump"):
        return "its defaults"
    return code(value)


def code(value: Any) -> str:
    """A value as YAML has it, in backticks."""
    match value:
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case tuple() | list():
            text = f"[{', '.join(str(v) for v in value)}]"
        case dict() if not value:
            text = "{}"
        case _:
            text = str(value)
    return f"`{text}`"


def tuned(bounds: Any) -> str:
    """A tuning range in short."""
    if bounds is None:
        return ""
    if bounds.choices:
        named = all(isinstance(c, str) for c in bounds.choices)
        return "each of them" if named else ", ".join(map(code, bounds.choices))
    return f"{bounds.low:g} to {bounds.high:g}{', log' if bounds.log else ''}"


def cell(text: str) -> str:
    """Text that fits into a table's cell."""
    return " ".join(text.split()).replace("|", r"\|")


def first_line(thing: Any) -> str:
    """The first paragraph of a docstring."""
    return cell((inspect.getdoc(thing) or "").split("\n\n")[0])


def steps(_: str) -> str:
    """A section for each step: what it does and its options."""
    registry = importlib.import_module("isthmus.prepare.step")
    parts = []
    for name in registry.names():
        kind = registry.get(name)
        exact = "Inverted on the way back to original units." if kind.invertible else "Not inverted."
        parts.append(f"### {name}\n\n{inspect.getdoc(kind) or ''}\n\n{exact}\n")
        if kind.Options.model_fields:
            parts.append(table(kind.Options))
    return "\n".join(parts)


def architectures(_: str) -> str:
    """A table of all architectures."""
    registry = importlib.import_module("isthmus.registry")
    rows = [
        [f"[`{name}`]({name}.md)", f"`{registry.settings(name).__name__}`", first_line(registry.module_of(name))]
        for name in registry.names()
    ]
    return grid(["in a recipe", "in Python", "what it is"], rows)


def help_of(verb: str) -> str:
    """The help text of a verb."""
    run = subprocess.run(
        [sys.executable, "-c", "from isthmus.cli import main; main()", *verb.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"COLUMNS": "96", "TERM": "dumb", "NO_COLOR": "1"},
    )
    if run.returncode:
        raise LookupError(run.stderr[-500:])
    text = run.stdout.replace("Usage: -c", "Usage: isthmus").strip("\n")
    return f"```text\n{text}\n```\n"


def file(path: str) -> str:
    """A file of the repository."""
    suffix = Path(path).suffix.lstrip(".")
    return f"```{suffix}\n{(ROOT / path).read_text(encoding='utf-8').rstrip()}\n```\n"


def floors(_: str) -> str:
    """The layers of pyproject.toml, top first; a layer that is not there yet stands in brackets and is left out."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    lines = []
    for layer in settings["contracts"][0]["layers"]:
        for name in (part.strip() for part in layer.split("|") if "(" not in part):
            source = ROOT / "src" / "isthmus" / name
            source = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
            docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
            lines.append(f"- `{name}`: {cell(docstring.split(chr(10) * 2)[0])}")
    return "\n".join(lines) + "\n"


FILL = {
    "keys": keys,
    "architecture": architecture,
    "steps": steps,
    "architectures": architectures,
    "help": help_of,
    "file": file,
    "floors": floors,
}
