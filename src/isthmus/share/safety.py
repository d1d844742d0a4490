"""What in a bundle could run when somebody opens it: nothing may."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import h5py

from isthmus.share.markup import unsafe_markup

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
STARTS = ("=", "@", "+", "-", "\uff1d", "\uff20", "\uff0b", "\uff0d")
"""What a spreadsheet takes for the beginning of a formula; the last four are the same at full width."""
HARMLESS = re.compile(r"[-+][-+\d.,eE%<>\s]*|[=@]")
"""Signs and numbers alone, such as the bin `-10-<0`."""
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
        return unsafe_markup(text, scripts=suffix == ".html")
    if suffix == ".csv" and _runs(text):
        return "holds a cell that a spreadsheet would run as a formula"
    if suffix == ".yaml" and TAG.search(text):
        return "holds a YAML tag"
    return ""


def _runs(text: str) -> bool:
    """Whether a cell of a table would be run by a spreadsheet, which may part cells at semicolons too."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return True
    parts = (part for row in rows for cell in row for part in (cell.lstrip(), *re.split(r"[;\t\r\n]", cell)))
    return any(part.startswith(STARTS) and not HARMLESS.fullmatch(part) and not _number(part) for part in parts)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
