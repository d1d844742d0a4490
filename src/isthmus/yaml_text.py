"""YAML in and out, read the way people mean it.

Scalars follow the YAML 1.2 core schema, narrowed: `true`/`false` are the only booleans (`no`, `on`, `yes` stay text),
`1e-3` is a number, a number with leading zeros (`007`), a date and a hexadecimal stay text. Refused, with the line:
duplicate keys, tags, anchors and aliases, `.nan` and `.inf`, more than one document, nesting deeper than 20, more than
1 MiB. Keys are text, as written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from isthmus.errors import RecipeError, shortened

__all__ = ["dump_yaml", "load_yaml", "override", "read_yaml"]

DEEPEST = 20
LARGEST = 1 << 20
"""Bytes."""
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | Path, overrides: Sequence[str] = (), *, flat: Collection[str] = ()) -> dict[str, Any]:
    """A recipe file as `load_yaml` reads it, with keys changed as `override` does.

    Parameters
    ----------
    path
        The file.
    overrides
        Items `key.key=value`, in order.
    flat
        As in `override`.

    Raises
    ------
    RecipeError
        The file is missing, cannot be read or is not YAML, or an item is no override.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "there is no such file"
        raise RecipeError(what, where=str(file.absolute()), wanted="a recipe file")
    try:
        text = file.read_bytes()
    except OSError as error:
        raise RecipeError("cannot be read", where=str(file.absolute()), met=error.strerror) from None
    tree = load_yaml(text, str(path))
    for item in overrides:
        tree = override(tree, item, flat=flat)
    return tree


def load_yaml(text: str | bytes, where: str) -> dict[str, Any]:
    """A recipe's text as nested dictionaries and lists.

    Parameters
    ----------
    text
        The text, or its bytes in UTF-8.
    where
        The name that an error gives the text: a file's name, as a rule.

    Returns
    -------
    The tree. Keys are text in the order written.

    Raises
    ------
    RecipeError
        The text is empty, is not YAML, or uses what is refused (see the module); the line is named.
    """
    tree = _parsed(_decoded(text, where), where)
    if tree is None:
        raise RecipeError("is empty", where=where, wanted="a mapping of keys and values")
    if not isinstance(tree, dict):
        raise RecipeError("is not a mapping at the top level", where=where, met=tree, wanted="lines like 'key: value'")
    return tree


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """YAML text from which `load_yaml` gives the tree back, tuples as lists and paths as text.

    Raises
    ------
    RecipeError
        The tree holds something other than text, finite numbers, booleans, None, lists and mappings.
    """
    text: str = yaml.dump(
        _plain(tree, ""), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1 << 20
    )
    return text


def override(tree: Mapping[str, Any], item: str, *, flat: Collection[str] = ()) -> dict[str, Any]:
    """The tree with one `key.below=value` changed or added; the value is read as YAML. `tree` itself stays as it is.

    Parameters
    ----------
    tree
        What `load_yaml` gives.
    item
        The key, its parts joined by dots, and its value.
    flat
        Keys whose own keys have dots in them: `tune.space.model.latent=...` sets `model.latent` of `tune.space`.

    Raises
    ------
    RecipeError
        There is no `=`, a part of the key is empty, or the key leads through something that is no mapping.
    """
    key, equals, value = item.partition("=")
    parts = [part.strip() for part in key.split(".")]
    for above in (f.split(".") for f in flat):
        if parts[: len(above)] == above and all(parts) and len(parts) > len(above):
            parts = [*above, ".".join(parts[len(above) :])]
    if not equals or not all(parts):
        raise RecipeError("is not an override", met=item, wanted="key=value, as in model.latent=16")
    return _replaced(tree, parts, _parsed(_decoded(value, key.strip()), key.strip()), parts)


def _replaced(tree: Mapping[str, Any], parts: list[str], value: Any, whole: list[str]) -> dict[str, Any]:
    """A copy of the tree in which the path `parts` leads to `value`."""
    head, *rest = parts
    if not rest:
        return {**tree, head: value}
    below = tree.get(head)
    below = {} if below is None else below
    if not isinstance(below, Mapping):
        at = ".".join(whole[: len(whole) - len(rest)])
        raise RecipeError("has no keys below it", where=at, met=below, hint=f"override {at} as a whole: {at}=...")
    return {**tree, head: _replaced(below, rest, value, whole)}


def _decoded(text: str | bytes, where: str) -> str:
    """UTF-8 text of bounded size, without a byte order mark."""
    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        text = data.decode("utf-8")
    except UnicodeError:
        raise RecipeError("is not text in UTF-8", where=where, hint="save it as UTF-8") from None
    if len(data) > LARGEST:
        raise RecipeError("is too large", where=where, met=f"{len(data)} bytes", wanted=f"at most {LARGEST} bytes")
    if "\0" in text:
        raise RecipeError("is a binary file, not YAML text", where=where)
    return text.removeprefix("\ufeff")


def _parsed(text: str, where: str) -> Any:
    """The one document of a text; None where there is none."""
    events = yaml.parse(text, Loader=LOADER)
    try:
        documents = [
            _node(next(events), events, where, depth=0)
            for event in events
            if isinstance(event, yaml.DocumentStartEvent)
        ]
    except yaml.MarkedYAMLError as error:
        problem = (error.problem or "cannot be read").strip()
        raise RecipeError(f"is not YAML: {problem}", where=_place(where, error.problem_mark)) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"is not YAML: {' '.join(str(error).split())[:100]}", where=where) from None
    if len(documents) > 1:
        raise RecipeError("holds more than one document", where=where, wanted="one, without '---' in between")
    return documents[0] if documents else None


def _place(where: str, mark: Any) -> str:
    return where if mark is None else f"{where}, line {mark.line + 1}, column {mark.column + 1}"


def _node(event: Any, events: Iterator[Any], where: str, *, depth: int) -> Any:
    """What begins with `event`, read to its end."""
    place = _place(where, event.start_mark)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise RecipeError("uses an anchor or alias, which are not read", where=place, hint="write the value out")
    if event.tag is not None:
        raise RecipeError("uses a tag, which are not read", where=place, met=event.tag, hint="remove the tag")
    if depth > DEEPEST:
        raise RecipeError("is nested too deeply", where=place, wanted=f"at most {DEEPEST} levels")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event.value, place) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        found = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(_node(event, events, where, depth=depth + 1))
        return found
    return _mapping(events, where, depth)


def _mapping(events: Iterator[Any], where: str, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        place = _place(where, event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            _node(event, events, where, depth=depth + 1)
            raise RecipeError("has a key that is no text", where=place)
        _node(event, events, where, depth=depth + 1)
        if event.value in found:
            raise RecipeError("has one key twice", where=place, met=event.value)
        found[event.value] = _node(next(events), events, where, depth=depth + 1)
    return found


def _scalar(text: str, place: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if NOT_FINITE.fullmatch(text):
        raise RecipeError("is not a finite number", where=place, met=text)
    if INTEGER.fullmatch(text):
        if len(text) > 300:
            raise RecipeError("is too long a number", where=place, met=text)
        return int(text)
    if FLOAT.fullmatch(text):
        if not math.isfinite(value := float(text)):
            raise RecipeError("is not a finite number", where=place, met=text)
        return value
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or our own rules would read as something else; repeats instead of aliasing."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if not text.isprintable():
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    special = text in CONSTANTS or any(p.fullmatch(text) for p in (INTEGER, FLOAT, NOT_FINITE))
    special = special or bool(re.fullmatch(r"[-+]?[0-9][0-9_.:eExXoO+-]*", text))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if special else None)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    short = not any(isinstance(i, list | dict) for i in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def _plain(value: Any, key: str) -> Any:
    """Only what YAML has: text, numbers, booleans, None, lists, mappings with text as keys."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{key}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, key) for v in value]
    raise RecipeError(
        f"cannot be written as YAML: {shortened(value)}", where=key or None, wanted="text, number or list"
    )
