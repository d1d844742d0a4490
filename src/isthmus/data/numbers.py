"""Cells to numbers: quickly where all is well, cell by cell only to say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from isthmus.errors import DataError

MISSING = ("", "NA", "NaN", "nan", "null", "NULL", "N/A", "#N/A")
"""What stands for a missing value in a text cell; blanks around it do not count."""
WHOLE = float(1 << 24)
"""Up to here float32 holds every whole number."""
COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")

Place = Callable[[int, int], str]
"""Row and column number to the words that name the cell in an error."""


def parsed(texts: pa.ChunkedArray, decimal: str) -> np.ndarray | int:
    """Texts as float64 with NaN for missing, or the number of the first that is no number."""
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(MISSING))
    plain = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    if decimal == ",":
        if (bad := _first(pc.match_substring(plain, "."))) is not None:
            return bad
        plain = pc.replace_substring(plain, ",", ".")
    try:
        return np.asarray(plain.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return next(i for i, text in enumerate(plain.to_pylist()) if text is not None and not _is_number(text))


def _first(flags: pa.ChunkedArray) -> int | None:
    found = np.flatnonzero(pc.fill_null(flags, fill_value=False).to_numpy(zero_copy_only=False))
    return int(found[0]) if len(found) else None


def _is_number(text: str) -> bool:
    try:
        pa.array([text]).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def refuse_cell(text: str, where: str, decimal: str = ".") -> DataError:
    """The error for a text in a column of numbers."""
    hint = ""
    if decimal == "." and COMMA.fullmatch(text.strip()):
        hint = 'if the comma is a decimal mark, say so beside the path: decimal: ","'
    elif decimal == "," and "." in text:
        hint = 'the decimal mark was given as ","; is it "."?'
    elif not any(c.isdigit() for c in text):
        known = ", ".join(m for m in MISSING if m)
        hint = f"missing is an empty cell or one of {known}; drop: [COLUMN] leaves a column of words out"
    return DataError(
        "is no number", where=where, met=text, wanted="a number, or nothing for a missing value", hint=hint
    )


def joined(columns: Sequence[np.ndarray], place: Place) -> np.ndarray:
    """Columns of numbers side by side: float32 where that loses no whole number, else float64.

    Raises
    ------
    DataError
        A value is infinite.
    """
    double = False
    for j, column in enumerate(columns):
        if column.size == 0:
            continue
        if np.isinf(column.min()) or np.isinf(column.max()) or np.isnan(column.min()):
            _refuse_infinite(column, j, place)
        double = double or needs_double(column)
    x = np.empty((len(columns), len(columns[0]) if columns else 0), np.float64 if double else np.float32)
    for j, column in enumerate(columns):
        x[j] = column
    return np.ascontiguousarray(x.T)


def _refuse_infinite(column: np.ndarray, j: int, place: Place) -> None:
    rows = np.flatnonzero(np.isinf(column))
    if len(rows):
        raise infinite(float(column[rows[0]]), place(int(rows[0]), j))


def infinite(value: float, where: str) -> DataError:
    """The error for a value that is not finite."""
    return DataError("is infinite", where=where, met=value, wanted="a finite number, or nothing for a missing value")


def needs_double(values: np.ndarray) -> bool:
    """Whether float32 would lose a whole number or run over."""
    if values.dtype.kind == "b" or values.dtype.itemsize <= 2 or values.dtype == np.float32 or values.size == 0:
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, highest = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
        if max(-float(lowest), float(highest)) <= WHOLE:
            return False
        large = values[np.abs(values.astype(np.float64)) > WHOLE].astype(np.float64)
        small = large.astype(np.float32)
        return bool((np.isinf(small) | ((large == np.rint(large)) & (small != large))).any())


def narrowed(x: np.ndarray | sp.csr_matrix, place: Place) -> np.ndarray | sp.csr_matrix:
    """A dense or CSR matrix of any numeric type as float32 (or float64, see `joined`), infinities refused."""
    values: np.ndarray = x.data if isinstance(x, sp.csr_matrix) else x
    if values.dtype.kind not in "fiub":
        raise DataError("holds no numbers", where=place(0, 0), met=str(values.dtype))
    with np.errstate(invalid="ignore", over="ignore"):
        suspect = values.dtype.kind == "f" and not np.isfinite(values.sum(dtype=np.float64))
    if suspect and len(bad := np.argwhere(np.isinf(values))):
        value = float(values[tuple(bad[0])])
        if isinstance(x, sp.csr_matrix):
            at = x.tocoo()
            raise infinite(value, place(int(at.row[bad[0, 0]]), int(at.col[bad[0, 0]])))
        raise infinite(value, place(int(bad[0, 0]), int(bad[0, 1])))
    return x.astype(np.float64 if needs_double(values) else np.float32, copy=False)


def of_frame(frame: pd.DataFrame, place: Place, decimal: str = ".") -> np.ndarray | sp.csr_matrix:
    """The values of a DataFrame; text cells are read as numbers, pandas' sparse columns become CSR.

    Raises
    ------
    DataError
        A cell is no number, or infinite.
    """
    if frame.shape[1] and all(isinstance(t, pd.SparseDtype) for t in frame.dtypes):
        accessor: Any = frame.sparse
        return narrowed(sp.csr_matrix(accessor.to_coo()), place)
    if frame.shape[1] and len(set(frame.dtypes)) == 1 and isinstance(frame.dtypes.iloc[0], np.dtype):
        values = frame.to_numpy()
        if values.dtype.kind in "fiub":
            return narrowed(values, place)
    return joined([_of_column(frame.iloc[:, j], j, place, decimal) for j in range(frame.shape[1])], place)


def _of_column(column: pd.Series, j: int, place: Place, decimal: str) -> np.ndarray:
    kind = column.dtype
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if pd.api.types.is_datetime64_any_dtype(kind):
        raise DataError("is a date, not a number", where=place(0, j), met=str(column.iloc[0]))
    cells = [None if pd.isna(v) else _as_text(v, decimal) for v in column]
    found = parsed(pa.chunked_array([pa.array(cells, pa.string())]), decimal)
    if isinstance(found, int):
        raise refuse_cell(str(cells[found]), place(found, j), decimal)
    return found


def _as_text(value: Any, decimal: str) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    text = str(value)
    return text.replace(".", decimal) if isinstance(value, float | np.floating) else text
