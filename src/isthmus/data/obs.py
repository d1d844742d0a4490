"""The table of annotations: what type a column has."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from isthmus.data.numbers import COMMA, MISSING, parsed
from isthmus.errors import DataError, listed

log = logging.getLogger("isthmus.data")
TRUTH = {"true": True, "TRUE": True, "True": True, "false": False, "FALSE": False, "False": False}
LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
INFINITE = re.compile(r"[-+]?inf(inity)?", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
MANY = 10
"""With more distinct numbers a column is no column of classes."""
FEW_WORDS = 3
"""Among numbers so many different words may be remarks; more of them are codes, as of hospitals."""


def typed(cells: pd.Series, where: str, decimal: str = ".") -> pd.Series:
    """A column of text as booleans, numbers or text.

    `True`/`False` in any usual spelling are booleans; `yes`, `no`, `007` and whatever else is not a number stay text.
    A column of text with repeated values is categorical. Missing is what `numbers.MISSING` lists.
    """
    trimmed = ["" if c is None else c.strip() for c in cells]
    stripped = [None if c in MISSING else c for c in trimmed]
    found = [c for c in stripped if c is not None]
    if found and all(c in TRUTH for c in found):
        values = [None if c is None else TRUTH[c] for c in stripped]
        return pd.Series(values, cells.index, dtype=bool if len(found) == len(values) else "boolean", name=cells.name)
    if found and not any(LEADING_ZERO.match(c) for c in found):
        numbers = parsed(pa.chunked_array([pa.array(stripped, pa.string())]), decimal)
        if not isinstance(numbers, int):
            if bad := next((c for c in found if INFINITE.fullmatch(c)), None):
                raise DataError("is infinite", where=f"{where}, column {cells.name!r}", met=bad)
            return _whole(pd.Series(numbers, cells.index, name=cells.name))
        tell_nearly_numbers(found, f"{where}, column {cells.name!r}")
    return as_text(pd.Series(stripped, cells.index, dtype=object, name=cells.name))


def tell_nearly_numbers(cells: Sequence[str], where: str) -> None:
    """Warn of a column that is text for the sake of a few words, or of decimal commas."""
    other = [c for c in cells if not NUMBER.fullmatch(c)]
    numbers = set(cells) - set(other)
    if other and len(set(cells)) > MANY and all(COMMA.fullmatch(c) for c in other):
        log.warning("%s: is read as text; if the comma in %r is a decimal mark, set decimal: ','", where, other[0])
    elif other and len(numbers) > MANY and 4 * len(other) <= len(cells) - len(other) and len(set(other)) <= FEW_WORDS:
        few = listed(dict.fromkeys(other))
        log.warning("%s: is read as text, since %d of %d values are no numbers: %s", where, len(other), len(cells), few)


def _whole(numbers: pd.Series) -> pd.Series:
    """Whole numbers without gaps as int64."""
    if numbers.isna().any() or (numbers.abs() > 2**53).any() or not (numbers == np.rint(numbers)).all():
        return numbers
    return numbers.astype(np.int64)


def as_text(column: pd.Series) -> pd.Series:
    """Text, categorical where values repeat or miss, as anndata's files have it; NaN where there is none at all."""
    values = column.astype(object).where(column.notna(), None)
    values = values.map(lambda v: v if v is None else str(v)).astype(object)
    known = values.dropna()
    if not len(known):
        return pd.Series(np.nan, column.index, dtype=np.float64, name=column.name)
    return values.astype("category") if known.nunique() < len(values) else values


def tidy(obs: pd.DataFrame) -> pd.DataFrame:
    """Columns of a DataFrame in types that every file format holds; column names as text."""

    def one(column: pd.Series) -> pd.Series:
        kind = column.dtype
        if isinstance(kind, pd.CategoricalDtype):
            column = column.cat.remove_unused_categories()
            if all(isinstance(c, str) for c in column.cat.categories):
                return column
            return column.cat.rename_categories([str(c) for c in column.cat.categories])
        if pd.api.types.is_bool_dtype(kind):
            return column.astype("boolean") if column.hasnans else column.astype(bool)
        if pd.api.types.is_numeric_dtype(kind):
            return column.astype(np.float64) if column.hasnans or pd.api.types.is_float_dtype(kind) else _plain(column)
        known: list[Any] = list(column.dropna())
        if known and all(isinstance(v, bool | np.bool_) for v in known):
            return column.astype("boolean") if len(known) < len(column) else column.astype(bool)
        if known and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in known):
            return _whole(column.astype(np.float64))
        return as_text(column)

    names = [str(c).strip() for c in obs.columns]
    return pd.DataFrame({n: one(obs.iloc[:, j]) for j, n in enumerate(names)}, index=obs.index)


def class_names(column: pd.Series) -> tuple[str, ...]:
    """The classes of a column, as text, sorted; whole numbers without their decimals."""
    return tuple(sorted(set(_as_classes(column).dropna())))


def class_codes(column: pd.Series, classes: Sequence[str]) -> np.ndarray:
    """Position of every sample's class in `classes`, int64; -1 where it is missing or none of them."""
    places = {name: k for k, name in enumerate(classes)}
    return np.array([places.get(v, -1) for v in _as_classes(column)], dtype=np.int64)


def class_labels(column: pd.Series) -> np.ndarray:
    """The class of every sample as text (dtype object), empty where it is missing."""
    return np.array([v if isinstance(v, str) else "" for v in _as_classes(column)], dtype=object)


def _as_classes(column: pd.Series) -> pd.Series:
    """A column as text, None where it is missing; 1 and 1.0 are one class."""

    def one(value: Any) -> str:
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        return str(int(value)) if whole else str(value)

    return column.astype(object).map(one, na_action="ignore").astype(object).where(column.notna(), None)


def _plain(column: pd.Series) -> pd.Series:
    return column.astype(np.int64)
