"""The bytes of a file as they are and as a reader would see them: decompressed, decoded, as text, as cells."""

from __future__ import annotations

import base64
import binascii
import bz2
import csv
import gzip
import html
import io
import json
import lzma
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import h5py
import numpy as np
import pyarrow.parquet

from isthmus.errors import DataError

__all__ = ["Piece", "pieces"]

DEEPEST = 4
LARGEST = 1 << 30
URI = re.compile(rb"data:[\w.+/-]*(?:;[\w=.+-]+)*?(;base64)?,([A-Za-z0-9+/=%._~!$&'()*,;:@-]{16,})")
HDF5, PARQUET, PNG = b"\x89HDF\r\n\x1a\n", b"PAR1", b"\x89PNG\r\n\x1a\n"
PACKED = ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ\x00", lzma.decompress))
NAMED = frozenset(("sample", "feature", "id", "ids", "index", "_index", "gene", ""))
"""Columns and keys under which names stand."""
LISTS = NAMED | {"features", "samples"}
"""The same in JSON, where a list of texts is a list of names; a column of this name holds numbers of them."""


@dataclass(frozen=True)
class Piece:
    """Some bytes. `text`: they are text. `cells`: strings by themselves; `names`: those where names stand."""

    where: str
    content: bytes
    text: bool
    cells: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


def pieces(where: str, content: bytes, depth: int = 0) -> Iterator[Piece]:
    """What a file holds, packed parts unpacked.

    Parameters
    ----------
    where
        Name of the file.
    content
        Its bytes.

    Raises
    ------
    DataError
        It is packed deeper, or unpacks to more, than anything that a bundle holds.
    """
    if depth > DEEPEST:
        raise DataError("is packed too deep to be looked through", where=where)
    if content.startswith(HDF5):
        yield Piece(where, content, text=False)
        yield from _hdf5(where, content)
    elif content.startswith(PARQUET):
        yield Piece(where, content, text=False)
        yield from _parquet(where, content)
    elif content.startswith(b"PK\x03\x04"):
        yield from _zip(where, content, depth)
    elif unpack := next((f for magic, f in PACKED if content.startswith(magic)), None):
        yield from pieces(f"{where} unpacked", _bounded(unpack, content, where), depth + 1)
    elif where.endswith(".safetensors"):
        yield from _safetensors(where, content)
    else:
        yield from _plain(where, content, depth)


def _bounded(unpack: Any, content: bytes, where: str) -> bytes:
    if len(content) > LARGEST // 200:
        raise DataError("is too large to be unpacked and looked through", where=where)
    try:
        return bytes(unpack(content))
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return content


def _zip(where: str, content: bytes, depth: int) -> Iterator[Piece]:
    yield Piece(where, content, text=False)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(i.file_size for i in infos) > LARGEST:
                raise DataError("unpacks to too much to be looked through", where=where)
            yield Piece(f"{where}, names", "\n".join(i.filename for i in infos).encode(), text=True)
            for info in infos:
                yield from pieces(f"{where}/{info.filename}", archive.read(info), depth + 1)
    except zipfile.BadZipFile:
        return


def _safetensors(where: str, content: bytes) -> Iterator[Piece]:
    size = int.from_bytes(content[:8], "little")
    if size > len(content) - 8:
        yield Piece(where, content, text=False)
        return
    yield _json(f"{where}, header", content[8 : 8 + size]) or Piece(where, content[8 : 8 + size], text=True)
    yield Piece(where, content[8 + size :], text=False)


def _plain(where: str, content: bytes, depth: int) -> Iterator[Piece]:
    if content.startswith(PNG):
        yield from _image(where, content)
        return
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        yield Piece(where, content, text=False)
        return
    yield _as_cells(where, text.encode())
    if "&" in text and "<" in text:
        yield Piece(f"{where}, entities decoded", html.unescape(text).encode("utf-8", "replace"), text=True)
    for number, match in enumerate(URI.finditer(content)):
        inner = unquote_to_bytes(match[2])
        if match[1]:
            try:
                inner = base64.b64decode(inner, validate=False)
            except (binascii.Error, ValueError):
                continue
        yield from pieces(f"{where}, embedded part {number + 1}", inner, depth + 1)


def _as_cells(where: str, content: bytes) -> Piece:
    """Text with its cells, where it is JSON or a table."""
    if where.endswith(".json"):
        return _json(where, content) or Piece(where, content, text=True)
    if where.endswith((".csv", ".tsv")):
        return _table(where, content)
    return Piece(where, content, text=True)


def _json(where: str, content: bytes) -> Piece | None:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return None
    cells, names = set[str](), set[str]()

    def walk(node: Any, *, named: bool) -> None:
        if isinstance(node, dict):
            cells.update(node)
            for key, inner in node.items():
                walk(inner, named=key in LISTS)
        elif isinstance(node, list):
            for inner in node:
                walk(inner, named=named)
        elif isinstance(node, str):
            (names if named else cells).add(node)

    walk(tree, named=False)
    decoded = json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace")
    return Piece(where, content + b"\n" + decoded, text=True, cells=frozenset(cells), names=frozenset(names))


def _table(where: str, content: bytes) -> Piece:
    rows = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter="\t" if where.endswith("tsv") else ","))
    cells, names = set[str](rows[0] if rows else ()), set[str]()
    for column in range(len(cells) and len(rows[0])):
        found = {r[column].lstrip("'") for r in rows[1:] if column < len(r)}
        if rows[0][column].lower() in NAMED:
            names |= found
        elif not all(_number(v) for v in found):
            cells |= found
    return Piece(where, content, text=True, cells=frozenset(cells), names=frozenset(names))


def _number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _image(where: str, content: bytes) -> Iterator[Piece]:
    from PIL import Image

    yield Piece(where, content, text=False)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        said = "\n".join(f"{k}\n{v}" for k, v in image.info.items())
    yield Piece(f"{where}, annotations", said.encode("utf-8", "replace"), text=True)


def _hdf5(where: str, content: bytes) -> Iterator[Piece]:
    with h5py.File(io.BytesIO(content), "r") as file:
        nodes: list[Any] = [file]
        file.visititems(lambda _, node: nodes.append(node))
        labels: list[str] = []
        for node in nodes:
            labels.append(node.name)
            for key, value in node.attrs.items():
                labels += [key, *_strings(value)]
        yield Piece(
            f"{where}, groups", "\n".join(labels).encode("utf-8", "replace"), text=True, cells=frozenset(labels)
        )
        for node in nodes:
            if isinstance(node, h5py.Dataset):
                yield _dataset(where, node)


def _dataset(where: str, node: Any) -> Piece:
    place, values = f"{where}:{node.name}", node[()]
    if h5py.check_string_dtype(node.dtype) is None and node.dtype.kind not in "SOU":
        return Piece(place, np.ascontiguousarray(values).tobytes(), text=False)
    cells = _strings(values)
    named = str(node.name).rsplit("/", 1)[-1] in NAMED
    none: frozenset[str] = frozenset()
    found = frozenset(cells)
    return Piece(place, _joined(cells), text=True, cells=none if named else found, names=found if named else none)


def _strings(values: Any) -> list[str]:
    flat = np.asarray(values).ravel().tolist()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in flat]


def _joined(cells: Iterable[str]) -> bytes:
    return "\n".join(cells).encode("utf-8", "replace")


def _parquet(where: str, content: bytes) -> Iterator[Piece]:
    file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    known = file.schema_arrow.metadata or {}
    head = b"\n".join([*(k + b"\n" + v for k, v in known.items()), *(n.encode() for n in file.schema_arrow.names)])
    yield Piece(f"{where}, schema", head, text=True, cells=frozenset(file.schema_arrow.names))
    for name, column in zip(file.schema_arrow.names, file.read().columns, strict=True):
        values = column.to_pylist()
        texts = [str(v) for v in values if isinstance(v, str | bytes)]
        if texts:
            found = frozenset(texts)
            names = found if name.lower() in NAMED or name.startswith("__index") else frozenset()
            yield Piece(f"{where}:{name}", _joined(texts), text=True, cells=found - names, names=names)
