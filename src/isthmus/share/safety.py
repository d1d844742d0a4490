"""What in a bundle could run when somebody opens it: nothing may."""

from __future__ import annotations

import hashlib
import html
import re
from functools import cache
from pathlib import Path

import h5py

from isthmus.report import page

__all__ = ["unsafe"]

SUFFIXES = (".json", ".yaml", ".csv", ".svg", ".html", ".h5ad", ".safetensors", ".txt")
"""Kinds of files that a bundle may hold."""
TEXT = (".json", ".yaml", ".csv", ".svg", ".html", ".txt")
MAGIC = {".h5ad": b"\x89HDF\r\n\x1a\n"}
RUNNABLE = (
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"PK",
    b"\x7fELF",
    b"MZ",
    b"#!",
    b"\xca\xfe\xba\xbe",
    b"<?php",
)
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
HANDLER = re.compile(r"<[^>]*\s(on\w+)\s*=", re.IGNORECASE)
SOURCE = re.compile(
    r"(?<![-\w])(src|srcset|data|action|formaction|poster|xlink:href|href)\s*=\s*[\"']?\s*([^\"'\s>]+)", re.IGNORECASE
)
ELEMENT = re.compile(
    r"<\s*(iframe|object|embed|applet|foreignobject|base|form|link|meta\s+http-equiv)\b", re.IGNORECASE
)
LOADED = re.compile(r"url\(\s*[\"']?(?!#|data:)|@import", re.IGNORECASE)
ENTITY = re.compile(r"<!ENTITY", re.IGNORECASE)
FORMULA = re.compile(r"(?:^|[,\n])\"?[=@][A-Za-z(]")
TAG = re.compile(r"(?:^|\s)!!?[A-Za-z]")


def unsafe(name: str, path: Path) -> str:
    """Why a file is not safe to open, or nothing."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return f"is of a kind that a bundle never holds ({suffix or 'no suffix'})"
    with path.open("rb") as stream:
        start = stream.read(16)
    if suffix in MAGIC and not start.startswith(MAGIC[suffix]):
        return f"is no {suffix[1:]} file"
    if suffix not in MAGIC and suffix != ".safetensors" and start.startswith(RUNNABLE):
        return "begins like a program or an archive"
    if suffix == ".h5ad":
        return _hdf5(path)
    if suffix in TEXT:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return "is no text"
        return _text(suffix, text)
    return ""


def _text(suffix: str, text: str) -> str:
    if suffix in (".html", ".svg"):
        return _markup(text, scripts=suffix == ".html")
    if suffix == ".csv" and FORMULA.search(text):
        return "holds a cell that a spreadsheet would run as a formula"
    if suffix == ".yaml" and TAG.search(text):
        return "holds a YAML tag"
    return ""


def _markup(text: str, *, scripts: bool) -> str:
    for match in SCRIPT.finditer(text):
        inert = re.search(r"type\s*=\s*[\"']application/json[\"']", match[1]) is not None
        if not scripts or (not inert and _sum(match[2]) not in _ours()):
            return "holds a script that is not the report's own"
    rest = SCRIPT.sub("", text)
    if "<script" in rest.lower():
        return "holds a script that does not end"
    if handler := HANDLER.search(rest):
        return f"holds an event handler ({handler[1]})"
    if element := ELEMENT.search(rest):
        return f"holds an element {element[1].lower()!r}"
    if ENTITY.search(rest):
        return "defines entities"
    if LOADED.search(rest):
        return "loads something by its style"
    for match in SOURCE.finditer(rest):
        target, link = html.unescape(match[2]).strip().lower(), match[1].lower() == "href"
        if not target.startswith(("#", "data:image/png", *(("https://",) if link else ()))):
            return f"refers to {target[:40]!r}"
    return ""


@cache
def _ours() -> frozenset[str]:
    """Sums of the scripts of an empty report."""
    empty = page.render(page.Page("", "", [], []))
    return frozenset(_sum(m[2]) for m in SCRIPT.finditer(empty))


def _sum(script: str) -> str:
    return hashlib.sha256(script.strip().encode()).hexdigest()


def _hdf5(path: Path) -> str:
    """Links to other files, and values that only a pickle could hold."""
    why: list[str] = []

    def look(group: h5py.Group) -> None:
        for key in group:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                why.append("holds a link to elsewhere")
                return
            node = group[key]
            if isinstance(node, h5py.Group):
                look(node)
            elif node.dtype.kind == "V" and h5py.check_opaque_dtype(node.dtype):
                why.append("holds opaque values")

    try:
        with h5py.File(path, "r") as file:
            look(file)
    except (OSError, RuntimeError, KeyError, RecursionError):
        return "is no whole HDF5 file"
    return why[0] if why else ""
