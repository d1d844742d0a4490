"""Delimited text to labels and cells: encoding, separator, header and ragged rows are seen to here."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from isthmus.data.compress import unpacked
from isthmus.data.numbers import MISSING, joined, parsed, refuse_cell
from isthmus.data.source import Source
from isthmus.errors import DataError, RecipeError, closest, listed

log = logging.getLogger("isthmus.data")
CANDIDATES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "blank"}
BINARY = {b"PAR1": "parquet", b"PK\x03\x04": "xlsx or zip", b"\x89HDF": "h5ad or h5mu (HDF5)", b"%PDF": "PDF"}
SAMPLE = 20
"""Rows by which a separator is told."""
BLOCK = 1 << 26
"""Bytes that the parser takes at a time; a row has to fit."""


@dataclass(frozen=True)
class Text:
    """A text table before its cells are read."""

    body: pa.Buffer
    """What follows the header."""
    header: list[str]
    """Column names; that of the ids among them."""
    at: int
    """The number of the column of ids."""
    keep: list[int]
    """The numbers of the other columns that are wanted."""
    separator: str
    quoted: bool
    where: str
    first_row: int
    """The line on which the body starts, counted from 1."""


def open_text(path: Path, source: Source) -> Text:
    """Read a file up to and including its header.

    Raises
    ------
    DataError
        The bytes are no text in the encoding, there is no row, or the separator leaves a single column.
    """
    where = str(path)
    data = decoded(path, source.encoding)
    separator = source.separator or _told_separator(data, path)
    first = _records(data, separator, 2, where)
    if not first:
        raise DataError("is empty", where=where)
    if len(first) < 2:
        raise DataError("has a header but no rows", where=where, met=listed(first[0][0]))
    (header, lines), (row, _) = first
    if len(row) == len(header) + 1:
        log.info("%s: the header has one name less than the rows have cells, so the first column holds the ids", where)
        header = ["", *header]
    if len(header) < 2:
        raise _one_column(data, separator, where)
    start = 0
    for _ in range(lines):
        start = data.index(b"\n", start) + 1
    at, keep = chosen(header, source, where)
    body = pa.py_buffer(data).slice(start)
    text = Text(body, header, at, keep, separator, b'"' in data, where, lines + 1)
    return _without_empty_last(text)


def decoded(path: Path, encoding: str, *, hint: str = "") -> bytes:
    """The file as UTF-8 with line feeds at line ends and without a byte order mark.

    `hint` is what an error says of another encoding; without it, that the option `encoding` takes it.
    """
    data, where = unpacked(path), str(path)
    if kind := next((k for magic, k in BINARY.items() if data.startswith(magic)), None):
        raise DataError(f"is no text but {kind}", where=where, hint="give the file the suffix of what it is")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding == "utf-8":
        raise DataError("is UTF-16 text", where=where, hint=hint or 'pass encoding="utf-16"')
    try:
        text = data.decode(encoding)
        data = data if encoding == "utf-8" else text.encode("utf-8")
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise DataError(
            f"is not {encoding} text",
            where=f"{where}, line {data[:at].count(10) + 1}",
            met=data[at : at + 1],
            hint=hint or 'pass its encoding, such as encoding="latin-1"',
        ) from None
    except LookupError:
        raise RecipeError("there is no such encoding", where="encoding", met=encoding) from None
    if (at := data.find(b"\0")) >= 0:
        raise DataError(
            "holds a NUL byte, so it is damaged or no text", where=f"{where}, line {data[:at].count(10) + 1}"
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data[:200].lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError("is a web page, not a table", where=where, hint="download the file itself")
    data = data.lstrip(b"\n")
    return data if not data or data.endswith(b"\n") else data + b"\n"


def _records(data: bytes, separator: str, most: int, where: str) -> list[tuple[list[str], int]]:
    """The first records that are not empty, each with the number of lines up to its end."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""), delimiter=separator)
    found: list[tuple[list[str], int]] = []
    try:
        for record in reader:
            if record:
                found.append((record, reader.line_num))
            if len(found) == most:
                break
    except csv.Error as error:
        raise DataError(f"is no table: {error}", where=f"{where}, line {reader.line_num}") from None
    return found


def _told_separator(data: bytes, path: Path) -> str:
    """The character that cuts the first rows into most cells, equally many in each."""
    usual = "," if ".csv" in path.name.lower() else "\t"
    scores: dict[str, tuple[bool, int, bool]] = {}
    for separator in CANDIDATES:
        if separator == " " and scores:
            break
        try:
            widths = [len(record) for record, _ in _records(data, separator, SAMPLE, str(path))]
        except DataError:  # cells of unlikely length, so this is not the separator
            continue
        if widths and max(widths[1:], default=widths[0]) > 1:
            even = len(set(widths[1:])) <= 1 and widths[0] in (widths[-1], widths[-1] - 1)
            scores[separator] = (even, max(widths), separator == usual)
    best = max(scores, key=lambda s: scores[s], default=",")
    log.info("%s: cells are separated by a %s", path.name, CANDIDATES[best])
    return best


def _one_column(data: bytes, separator: str, where: str) -> DataError:
    line = data[: data.index(b"\n")].decode("utf-8")
    name = CANDIDATES.get(separator, separator)
    other = max(CANDIDATES, key=lambda s: 0 if s == separator else line.count(s))
    hint = ""
    if other in line:
        hint = f"the header has the {CANDIDATES[other]}: say so beside the path: separator: {other!r}"
    if line.startswith(("#", "!", "%")):
        hint = "the first line looks like a comment: take such lines out, so that the names of the columns come first"
    return DataError(f"has a single column when cut at the {name}", where=where, met=line, hint=hint)


def chosen(header: list[str], source: Source, where: str) -> tuple[int, list[int]]:
    """The number of the column of ids, and of those that are neither ids nor dropped."""
    stripped = [name.strip() for name in header]
    for name in (*source.drop, *([] if source.id_column is None else [source.id_column])):
        if name not in stripped:
            hint = closest(name, stripped)
            raise DataError("there is no such column", where=where, met=name, hint=hint)
    at = 0 if source.id_column is None else stripped.index(source.id_column)
    dropped = {i for i, name in enumerate(stripped) if name in source.drop}
    if at != 0 and not stripped[0]:
        log.info("%s: the first column has no name and is not read, as the ids are in %r", where, source.id_column)
        dropped.add(0)
    return at, [i for i in range(len(header)) if i != at and i not in dropped]


def _without_empty_last(text: Text) -> Text:
    """A separator at the end of each line makes a last column without name; it goes where it is empty."""
    if not text.keep or text.keep[-1] != len(text.header) - 1 or text.header[-1].strip():
        return text
    cells = _parse(text, [text.keep[-1]], pa.string()).column(str(text.keep[-1]))
    if any(c and c.strip() for c in cells.to_pylist()):
        return text
    log.info("%s: the last column has neither a name nor values and is not read", text.where)
    return Text(**{**vars(text), "keep": text.keep[:-1]})


def labels_of(text: Text) -> list[str]:
    """The ids, as written."""
    found: list[str] = _parse(text, [text.at], pa.string()).column(str(text.at)).to_pylist()
    return found


def columns_of(text: Text) -> list[pa.ChunkedArray]:
    """Every wanted column as text."""
    table = _parse(text, text.keep, pa.string())
    return [table.column(str(j)) for j in text.keep]


def values_of(text: Text, ids: list[str], decimal: str) -> np.ndarray:
    """Every wanted column as numbers, rows x columns.

    Raises
    ------
    DataError
        A cell is no number, or infinite; the row's id and the column are named.
    """

    def place(i: int, j: int) -> str:
        return f"{text.where}, row {ids[i]!r}, column {text.header[text.keep[j]]!r}"

    try:
        table = _parse(text, text.keep, pa.float64(), decimal)
        columns = [table.column(str(j)).to_numpy() for j in text.keep]
    except pa.ArrowInvalid:
        columns = []
        for number, cells in enumerate(columns_of(text)):
            found = parsed(cells, decimal)
            if isinstance(found, int):
                raise refuse_cell(cells[found].as_py(), place(found, number), decimal) from None
            columns.append(found)
    return joined(columns, place)


def _parse(text: Text, numbers: list[int], kind: pa.DataType, decimal: str = ".") -> pa.Table:
    """Some columns by pyarrow; a ragged row is an error that names its line."""
    names = [str(i) for i in range(len(text.header))]
    wanted = [str(i) for i in numbers]
    try:
        return pa.csv.read_csv(
            pa.BufferReader(text.body),
            read_options=pa.csv.ReadOptions(column_names=names, block_size=BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=text.separator, newlines_in_values=text.quoted),
            convert_options=pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, kind),
                null_values=list(MISSING),
                quoted_strings_can_be_null=True,
                strings_can_be_null=False,
                decimal_point=decimal,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _refuse_ragged(text)
        if "conversion error" in str(error):
            raise
        raise DataError(f"is no table: {str(error).splitlines()[0][:120]}", where=text.where) from None


def _refuse_ragged(text: Text) -> None:
    stream = io.TextIOWrapper(io.BytesIO(text.body), "utf-8", newline="")
    reader = csv.reader(stream, delimiter=text.separator)
    wanted = len(text.header)
    for record in reader:
        if record and len(record) != wanted:
            line = text.first_row + reader.line_num - 1
            what = f"has {len(record)} cells where the header has {wanted}"
            raise DataError(what, where=f"{text.where}, row {line}", met=text.separator.join(record[:4]))
