"""Names that must not occur, looked for in every byte.

A name of at least four bytes that is no everyday word is looked for in all bytes: in UTF-8, as JSON, HTML and
addresses write it, and long ones in lower case too. Shorter than eight bytes, or without a digit, it counts where no
letter or digit touches it (`PX19` is not in `PX192`, but it is in `PX19_rna`); otherwise it counts within longer words
too. In what is not text only names of at least eight bytes are looked for: shorter ones occur in any large array of
numbers by chance.

Names that are short, numbers, or words of this package's own text (`mean`, `test`) cannot be told from what stands
there anyway. They are looked for as whole cells: of tables, JSON, HDF5 and parquet; numbers and words only where names
stand.

The search: the last eight (four) bytes of every name are hashed into a table of bits, and so is every window of the
bytes searched (Karp and Rabin 1987, with windows that fit a word); what the table lets pass is compared.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import no_type_check
from urllib.parse import quote

import numpy as np
from numba import njit

__all__ = ["Canary", "Hit", "Watch", "vocabulary"]

LONG, SHORT = 8, 4
BITS = 20
FACTOR = np.uint64(0x9E3779B97F4A7C15)
SHIFT = np.uint64(64 - BITS)
BLOCK = 1 << 22
MOST = 50
NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]*)?([eE][-+]?[0-9]+)?")
WORD = re.compile(r"[A-Za-z0-9_.]+")
DIGIT, NUMBERED = re.compile("[0-9]"), re.compile("[a-z_]+[0-9]{1,2}")
PARTS = re.compile(r"[._]")
LETTERS = np.zeros(256, dtype=bool)
LETTERS[[*range(48, 58), *range(65, 91), *range(97, 123), *range(128, 256)]] = True
FOREIGN = frozenset(
    [
        "encoding",
        "type",
        "version",
        "array",
        "categories",
        "codes",
        "column",
        "order",
        "index",
        "dataframe",
        "string",
        "categorical",
        "ordered",
        "raw",
        "layers",
        "obsm",
        "varm",
        "obsp",
        "varp",
        "uns",
        "anndata",
        "mudata",
        "http",
        "www",
        "w3",
        "org",
        "svg",
        "xmlns",
        "xlink",
        "DejaVu",
        "Sans",
        "Helvetica",
        "Arial",
        "Liberation",
        "axes",
        "figure",
        "patch",
        "line2d",
        "text",
        "matplotlib",
        "xtick",
        "ytick",
        "path",
        "clip",
        "href",
        "defs",
        "style",
        "none",
        "round",
        "butt",
        "miter",
        "sha256",
        "F32",
        "F64",
        "I64",
        "I32",
        "BOOL",
        "dtype",
        "shape",
        "data_offsets",
        "utf",
        "xml",
        "DTD",
        "PUBLIC",
        "W3C",
    ]
)
"""Words of the formats."""


@dataclass(frozen=True)
class Canary:
    """A name that must not occur. `what` says which without saying it (`sample 3`); `value`: it is denied metadata."""

    text: str
    what: str
    value: bool = False


@dataclass(frozen=True)
class Hit:
    """Where a canary was met."""

    where: str
    what: str


@cache
def vocabulary() -> frozenset[str]:
    """Every word of this package's own text: it may stand in what the package writes, whatever the data.

    Of those with digits only such as `r2`: others are rather examples of names than words.
    """
    root = Path(__file__).parents[1]
    files = [p for p in sorted(root.rglob("*")) if p.suffix in (".py", ".j2", ".js", ".css")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    words = set(WORD.findall(text))
    words |= {part for word in words for part in PARTS.split(word)}
    words = {w for w in words if not DIGIT.search(w) or NUMBERED.fullmatch(w)} | FOREIGN
    return frozenset(words | {w.capitalize() for w in words})


class Watch:
    """Canaries sorted by how they can be looked for.

    Parameters
    ----------
    canaries
        What must not occur.
    common
        Words that may stand in a bundle for another reason: names of modalities, kept columns and their levels.
    """

    def __init__(self, canaries: Iterable[Canary], common: Collection[str] = ()) -> None:
        words = vocabulary() | set(common)
        self.cells: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        patterns: dict[bytes, str] = {}
        for canary in canaries:
            text = canary.text.strip()
            if not text:
                continue
            number = NUMBER.fullmatch(text) is not None and sum(c.isdigit() for c in text) < LONG
            if text in words or number:
                if not canary.value:
                    self.ids.setdefault(text, canary.what)
            elif len(text.encode("utf-8", "replace")) < SHORT:
                self.cells.setdefault(text, canary.what)
            else:
                patterns |= {p: canary.what for p in variants(text) if p not in patterns}
        self.patterns = _Patterns({p: w for p, w in patterns.items() if len(p) >= SHORT})

    @property
    def counts(self) -> dict[str, int]:
        """How many are looked for in every byte, in cells, and where names stand."""
        return {"bytes": len(self.patterns.what), "cells": len(self.cells), "names": len(self.ids)}

    def in_bytes(self, content: bytes, where: str, *, text: bool) -> Iterator[Hit]:
        """Every canary that bytes hold, once each."""
        for what in self.patterns.found(content, text=text):
            yield Hit(where, what)

    def in_cells(self, cells: Collection[str], where: str, *, names: bool = False) -> Iterator[Hit]:
        """Every canary that is one of some cells; `names`: the cells are names of samples or features."""
        found = set(cells)
        for known in (self.cells, self.ids) if names else (self.cells,):
            for text in found & known.keys():
                yield Hit(where, known[text])


def variants(text: str) -> set[bytes]:
    """How a name may be written in a file."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], html.escape(text)}
    forms |= {html.escape(text, quote=False), quote(text, safe="", errors="replace"), text.replace('"', '""')}
    if len(text) >= LONG:
        forms.add(text.lower())
    return {f.encode("utf-8", "replace") for f in forms}


class _Patterns:
    """Byte strings to be found, by the hash of their ends."""

    def __init__(self, what: dict[bytes, str]) -> None:
        self.what = what
        long = [p for p in what if len(p) >= LONG]
        self.long = _Tails(long, LONG)
        self.short = _Tails([p for p in what if len(p) < LONG], SHORT)
        self.inside = {p for p in long if any(48 <= c <= 57 for c in p)}

    def found(self, content: bytes, *, text: bool) -> list[str]:
        met: dict[str, None] = {}
        for tails in (self.long, self.short) if text else (self.long,):
            for pattern, end in tails.ends(content):
                if len(met) >= MOST:
                    return list(met)
                if self.what[pattern] not in met and (pattern in self.inside or _alone(content, pattern, end)):
                    met[self.what[pattern]] = None
        return list(met)


class _Tails:
    """Byte strings by their last 4 or 8 bytes."""

    def __init__(self, patterns: list[bytes], width: int) -> None:
        self.width = width
        self.by_tail: dict[int, list[bytes]] = {}
        for p in patterns:
            self.by_tail.setdefault(int.from_bytes(p[-width:], "little"), []).append(p)
        self.tails = np.array(sorted(self.by_tail), dtype=np.uint64)
        self.table = np.zeros(1 << BITS, dtype=np.bool_)
        self.table[(self.tails * FACTOR) >> SHIFT] = True

    def ends(self, content: bytes) -> Iterator[tuple[bytes, int]]:
        """Each place where one of the strings ends: the position after its last byte."""
        every = np.frombuffer(content, dtype=np.uint8)
        if not len(self.tails):
            return
        for start in range(0, len(every), BLOCK):
            block = every[max(start - self.width + 1, 0) : start + BLOCK]
            ends, windows = _passed(block, self.table, self.tails, self.width)
            for place, window in zip(ends.tolist(), windows.tolist(), strict=True):
                end = max(start - self.width + 1, 0) + place
                for pattern in self.by_tail[window]:
                    if end >= len(pattern) and content.startswith(pattern, end - len(pattern)):
                        yield pattern, end


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _passed(block: np.ndarray, table: np.ndarray, tails: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows of some bytes that are one of the tails (sorted): their ends, and themselves as numbers."""
    ends, windows, n = np.empty(1024, np.int64), np.empty(1024, np.uint64), 0
    drop, step, top = np.uint64(8 * (8 - width)), np.uint64(8), np.uint64(56)
    window = np.uint64(0)
    for i in range(len(block)):
        window = (window >> step) | (np.uint64(block[i]) << top)
        key = window >> drop
        if not table[(key * FACTOR) >> SHIFT] or i + 1 < width:
            continue
        low, high = 0, len(tails)
        while low < high:
            middle = (low + high) // 2
            if tails[middle] < key:
                low = middle + 1
            else:
                high = middle
        if low == len(tails) or tails[low] != key:
            continue
        if n == len(ends):
            ends = np.concatenate((ends, np.empty(n, np.int64)))
            windows = np.concatenate((windows, np.empty(n, np.uint64)))
        ends[n], windows[n] = i + 1, key
        n += 1
    return ends[:n], windows[:n]


def _alone(content: bytes, pattern: bytes, end: int) -> bool:
    """Whether no letter or digit touches what stands there; digits are also touched by a decimal point's digits."""
    start = end - len(pattern)
    before, after = content[max(start - 2, 0) : start], content[end : end + 2]
    if (before and LETTERS[before[-1]] and LETTERS[pattern[0]]) or (
        after and LETTERS[after[0]] and LETTERS[pattern[-1]]
    ):
        return False
    if not pattern.isdigit():
        return True
    point = (b".", b",")
    return not (len(before) == 2 and before[1:] in point and before[:1].isdigit()) and not (
        len(after) == 2 and after[:1] in point and after[1:].isdigit()
    )
