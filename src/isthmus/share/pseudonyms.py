"""Names that say nothing without the key, and the same at every site that has it.

A pseudonym is BLAKE2b (RFC 7693) under the project's key over the domain and the name, 80 bits in base 32. Domains keep
apart what has one name in two places: `sample`, `feature/<modality>`, `column`, `value/<column>`. Among a million names
two of one pseudonym are expected with p = 4.1e-13, in one of 2.4 x 10^12 projects; they are refused.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.errors import DataError
from isthmus.share.keys import Key, refuse_open

__all__ = ["Names", "names_file", "read_names", "write_names"]

SAMPLE, COLUMN = "sample", "column"
PREFIX = {"sample": "s", "feature": "f", "column": "c", "value": "v"}
LETTERS = 16
"""Of a pseudonym, after its prefix."""
SIZE = LETTERS * 5 // 8
LARGEST = 1 << 30


def feature(modality: str) -> str:
    """The domain of a modality's features."""
    return f"feature/{modality}"


def value(column: str) -> str:
    """The domain of the values of a column of obs."""
    return f"value/{column}"


@dataclass(frozen=True)
class Names:
    """Pseudonyms under one key and project; every one that is given out is remembered, to be reversed.

    Parameters
    ----------
    key
        The project's.
    project
        Part of every pseudonym: another project's bundle does not join, even with the same key.
    site
        Part of the pseudonyms of samples, since two sites may both have a sample `1`.
    keep
        Kinds of name that stay as they are (`feature`).
    """

    key: Key
    project: str = ""
    site: str = ""
    keep: frozenset[str] = frozenset()
    known: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    taken: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)

    def of(self, domain: str, name: str) -> str:
        """The pseudonym of a name.

        Raises
        ------
        DataError
            Two names have one.
        """
        kind = domain.partition("/")[0]
        if kind in self.keep:
            return name
        known = self.known.setdefault(domain, {})
        if name not in known:
            where = f"{domain}/{self.site}" if kind == SAMPLE else domain
            digest = self.key.digest("name", self.project, where, name, size=SIZE)
            known[name] = f"{PREFIX[kind]}_{base64.b32encode(digest).decode().lower()}"
            if self.taken.setdefault(domain, {}).setdefault(known[name], name) != name:
                raise DataError("two names have one pseudonym", where=domain, hint="take another key")
        return known[name]

    def every(self, domain: str, names: Iterable[Any]) -> list[str]:
        """Pseudonyms of several names, in their order."""
        return [self.of(domain, str(n)) for n in names]

    @property
    def check(self) -> str:
        """What the manifest says of the key."""
        return self.key.check(self.project)


def names_file(key: Key) -> Path:
    """Where the names behind a key's pseudonyms are kept: beside it, for its holder alone."""
    if key.path is None:
        raise DataError("has no file beside which the names could be kept", where="key")
    return key.path.with_name(f"{key.path.name}.names.json")


def write_names(names: Names) -> Path:
    """Add the names that were given pseudonyms to the file beside the key (mode 0600).

    Raises
    ------
    DataError
        The file is another key's, or was changed.
    """
    path = names_file(names.key)
    tree = read_names(path, names.key) if path.exists() else {}
    for domain, known in names.known.items():
        tree.setdefault(domain, {}).update({p: n for n, p in known.items()})
    body = _body(tree)
    text = json.dumps({"mac": _mac(names.key, body), "names": tree}, ensure_ascii=True, sort_keys=True, indent=1)
    temporary = path.with_name(f".{secrets.token_hex(6)}.names")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_names(path: Path, key: Key) -> dict[str, dict[str, str]]:
    """Domain to pseudonym to name, as `write_names` left it.

    Raises
    ------
    DataError
        It is not there, may be read by others, is another key's, or was changed.
    """
    if not path.is_file():
        hint = "it is written beside the key when a bundle is made: --names FILE says where else it is"
        raise DataError("there is no file of names", where=str(path.absolute()), hint=hint)
    refuse_open(path)
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size < LARGEST else {}
        tree, mac = found["names"], found["mac"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError("is no file of names", where=str(path)) from None
    if not isinstance(tree, dict) or not secrets.compare_digest(str(mac), _mac(key, _body(tree))):
        raise DataError("is not of this key, or was changed", where=str(path), wanted="the names of this key")
    return tree


def _body(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def _mac(key: Key, body: bytes) -> str:
    return key.digest("names", body, size=32).hex()
