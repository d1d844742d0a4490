"""One table from one file or DataFrame: labels of rows and columns, and the values between them."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import scipy.sparse as sp

from isthmus.data.bombs import check_parquet, check_zip, damage
from isthmus.data.numbers import of_frame
from isthmus.data.obs import tell_nearly_numbers, tidy, typed
from isthmus.data.source import Source
from isthmus.data.text import chosen, columns_of, labels_of, open_text, values_of
from isthmus.errors import DataError, RecipeError, closest

log = logging.getLogger("isthmus.data")
EXCEL = (".xlsx", ".xls", ".xlsm")
PARQUET = (".parquet", ".pq")
FEATHER = (".feather", ".arrow")
DATE = re.compile(r"[0-9]{1,2}-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)")
"""What a spreadsheet makes of MARCH1 and SEPT2, as a csv has it."""
WHOLE = re.compile(r"(0|[1-9][0-9]*)\.0")


@dataclass(frozen=True)
class Grid:
    """A table whose orientation need not be known yet."""

    values: np.ndarray | sp.csr_matrix
    """Rows x columns."""
    rows: pd.Index
    columns: pd.Index
    where: str
    """File or argument, for errors."""
    duplicates: str = "refuse"

    @property
    def turned(self) -> Grid:
        """The same table with rows and columns exchanged."""
        x = self.values
        turned = sp.csr_matrix(x.T) if isinstance(x, sp.csr_matrix) else np.ascontiguousarray(x.T)
        return replace(self, values=turned, rows=self.columns, columns=self.rows)


def read_grid(path: Path, source: Source) -> Grid:
    """The values of a table file (errors: see `isthmus.data.read.read`)."""
    where = str(path)
    if path.suffix.lower() in (*EXCEL, *PARQUET, *FEATHER):
        return frame_grid(_frame(path, source), where, source)
    text = open_text(path, source)
    ids = labels_of(text)
    names = [text.header[j] for j in text.keep]
    values = values_of(text, ids, source.decimal)
    return Grid(values, cleaned(ids, where, "row"), cleaned(names, where, "column"), where, source.duplicates)


def frame_grid(frame: pd.DataFrame, where: str, source: Source | None = None) -> Grid:
    """The values of a DataFrame whose index holds the row labels."""
    rows, columns = labels(frame.index), labels(frame.columns)

    def place(i: int, j: int) -> str:
        return f"{where}, row {rows[i]!r}, column {columns[j]!r}"

    values = of_frame(frame, place, source.decimal if source else ".")
    duplicates = source.duplicates if source else "refuse"
    return Grid(values, cleaned(rows, where, "row"), cleaned(columns, where, "column"), where, duplicates)


def read_obs(path: Path, source: Source, *, ids: Collection[str] | None = ()) -> pd.DataFrame:
    """A table of annotations: index = row labels, columns typed.

    Those of `ids` (None: all) are text, where an empty cell alone is missing.
    """
    where = str(path)
    if path.suffix.lower() in (*EXCEL, *PARQUET, *FEATHER):
        frame = _frame(path, source)
        return obs_frame(frame, where)
    text = open_text(path, source)
    rows = cleaned(labels_of(text), where, "row")
    names = cleaned([text.header[j] for j in text.keep], where, "column")
    _refuse_twice(names, where, "column")
    cells = {
        n: pd.Series(c.to_pylist(), index=rows, dtype=object, name=n)
        for n, c in zip(names, columns_of(text), strict=True)
    }
    found = {n: c.map(_id_of) if ids is None or n in ids else typed(c, where, source.decimal) for n, c in cells.items()}
    return pd.DataFrame(found, index=rows)


def _id_of(cell: str | None) -> str | None:
    """An id as it is written; 7.0, as a column of numbers with gaps is written, is 7."""
    text = (cell or "").strip()
    return (text.removesuffix(".0") if WHOLE.fullmatch(text) else text) or None


def obs_frame(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """A DataFrame as a table of annotations."""
    frame = frame.set_axis(cleaned(labels(frame.index), where, "row"))
    names = cleaned(labels(frame.columns), where, "column")
    _refuse_twice(names, where, "column")
    frame = frame.set_axis(names, axis=1)
    for name in (n for n, kind in frame.dtypes.items() if kind.kind == "O"):
        tell_nearly_numbers([str(v).strip() for v in frame[name].dropna()], f"{where}, column {name!r}")
    return tidy(frame)


def labels(index: pd.Index) -> list[str]:
    """Labels as text: 7 and 7.0 are `7`."""
    if index.nlevels > 1:
        raise DataError("has labels of several levels", met=list(index.names), wanted="one id per row and column")
    return [_label(v) for v in index]


def _label(value: Any) -> str:
    if isinstance(value, float | np.floating) and np.isfinite(value) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None or pd.isna(value) else str(value)


def cleaned(texts: list[str], where: str, what: str) -> pd.Index:
    """Labels without blanks around them; an empty one is an error."""
    stripped = [t.strip() for t in texts]
    changed = [t for t, s in zip(texts, stripped, strict=True) if t != s]
    if changed:
        log.warning("%s: blanks around %d %s names were removed, such as %r", where, len(changed), what, changed[0])
    if dates := [s for s in stripped if len(s) < 7 and DATE.fullmatch(s)]:
        log.warning(
            "%s: %d %s names look like dates that Excel made of names, such as %r", where, len(dates), what, dates[0]
        )
    if "" in stripped:
        number = stripped.index("") + 1
        raise DataError(f"{what} number {number} has no name", where=where, wanted="an id for every row and column")
    return pd.Index(stripped, dtype=object)


def _refuse_twice(names: pd.Index, where: str, what: str) -> None:
    if not names.is_unique:
        again = names[names.duplicated()]
        met = f"{again[0]} ({len(again)} such)" if len(again) > 1 else again[0]
        raise DataError(f"a {what} name occurs twice", where=where, met=met)


def _frame(path: Path, source: Source) -> pd.DataFrame:
    """Parquet, feather or Excel with the row labels as index."""
    if path.suffix.lower() in EXCEL:
        return _excel(path, source)
    with damage(path, path.suffix[1:]):
        if path.suffix.lower() in PARQUET:
            check_parquet(path)
        read = pa.parquet.read_table if path.suffix.lower() in PARQUET else pa.feather.read_table
        table = read(path)
        table.validate(full=True)  # offsets that lead nowhere would crash the conversion
        frame = table.to_pandas()
    return indexed(frame, source, str(path))


def indexed(frame: pd.DataFrame, source: Source, where: str) -> pd.DataFrame:
    """The frame with its row labels as index and without dropped columns."""
    names = labels(frame.columns)
    if frame.empty:
        raise DataError("has no rows" if not len(frame) else "has no columns", where=where)
    given = source.id_column
    if given is not None and given not in names and frame.index.name == given:
        given = None
    named = not isinstance(frame.index, pd.RangeIndex)
    if named and given is None:
        missing = [d for d in source.drop if d not in names]
        if missing:
            hint = closest(missing[0], names)
            raise DataError("there is no such column", where=where, met=missing[0], hint=hint)
        return frame.iloc[:, [i for i, n in enumerate(names) if n not in source.drop]]
    at, keep = chosen(names, source, where)
    if given is None and not _is_text(frame.iloc[:, 0]):
        raise DataError(
            "has no ids: its rows are numbered and its first column is no text",
            where=where,
            met=names[0],
            hint="name the column of ids by id_column, or make it the index",
        )
    return frame.iloc[:, keep].set_axis(pd.Index(frame.iloc[:, at], dtype=object))


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column.dtype)


def _excel(path: Path, source: Source) -> pd.DataFrame:
    where = str(path)
    with damage(path, "Excel"):
        check_zip(path)
        with pd.ExcelFile(path) as book:
            sheets = list(map(str, book.sheet_names))
            try:
                cells = book.parse(source.sheet, header=None, dtype=object, na_filter=False)
            except ValueError as error:
                if "orksheet" not in str(error):
                    raise
                hint = closest(source.sheet, sheets)
                raise RecipeError("there is no such sheet", where=where, met=source.sheet, hint=hint) from None
    if len(sheets) > 1 and "sheet" not in source.model_fields_set:
        log.warning("%s: %r is read, the first of %d sheets; sheet names another", where, sheets[0], len(sheets))
    if len(cells) < 2 or cells.shape[1] < 2:
        raise DataError("is empty" if cells.empty else "has no table", where=where, wanted="a header, ids and values")
    dates = [v for v in [*cells.iloc[0], *cells.iloc[:, 0]] if isinstance(v, datetime.date)]
    if dates:
        log.warning("%s: Excel has made %d names into dates, such as %s", where, len(dates), dates[0])
    header = [_label(v) for v in cells.iloc[0]]
    at, keep = chosen(header, source, where)
    body = cells.iloc[1:]
    found = body.iloc[:, keep].set_axis([header[j] for j in keep], axis=1)
    found = found.replace("", None) if (found == "").to_numpy().any() else found
    return found.set_axis(pd.Index(body.iloc[:, at], dtype=object)).infer_objects()


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
