"""What a table must be before a step may read it. Errors name the place and the value met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from isthmus.data.table import Array, Table
from isthmus.errors import DataError, listed

BLOCK = 1 << 22
"""Values looked at together."""
LARGEST = np.finfo(np.float32).max


@contextmanager
def blaming(modality: str, step: str) -> Iterator[None]:
    """Put the modality and the step before the place that an error names."""
    try:
        yield
    except DataError as error:
        where = ", ".join([modality, step, *([error.where] if error.where else [])])
        raise DataError(error.what, where=where, met=error.met, wanted=error.wanted, hint=error.hint) from error


def unique(features: pd.Index, where: str) -> None:
    """No two features of one name."""
    if not features.is_unique:
        raise DataError("a feature occurs twice", where=where, met=listed(features[features.duplicated()].unique()))


def learnable(table: Table, where: str) -> None:
    """Something to learn from."""
    unique(table.features, where)
    if not table.present.any():
        raise DataError("no training sample has this modality", where=where)
    if isinstance(table.x, np.ndarray) and np.isnan(table.of_present()).all():
        raise DataError("every value of the training samples is missing", where=where)
    if not len(table.features):
        raise DataError("has no features", where=where)
    finite(table.x, table.features, where)


def finite(x: Array, features: pd.Index, where: str) -> None:
    """NaN is missing; an infinite value, or one beyond float32, is an error."""
    if found := _first(x, np.isinf):
        raise DataError(
            "an infinite value",
            where=f"{where}, {_place(found, features, None)}",
            wanted="a number, or NaN for missing",
        )
    if x.dtype.itemsize > LARGEST.itemsize and (found := _first(x, lambda block: np.abs(block) > LARGEST)):
        raise DataError(
            "too large a value", where=f"{where}, {_place(found, features, None)}", met=_value(x, found),
            wanted=f"at most {LARGEST:.1e}, the largest that a network can hold",
        )  # fmt: skip


def nonnegative(x: Array, features: pd.Index, ids: pd.Index | None, *, hint: str = "") -> None:
    """No value below zero."""
    if found := _first(x, lambda block: block < 0):
        raise DataError(
            "a negative value", where=_place(found, features, ids), met=_value(x, found), wanted="0 or more", hint=hint
        )


def counts(table: Table, modality: str, *, ids: pd.Index | None = None) -> None:
    """Whole numbers from zero on, as a count likelihood needs them.

    Raises
    ------
    DataError
        A negative or fractional value; the first is named by sample and feature.
    """
    if found := _first(table.x, lambda block: (block < 0) | (block != np.round(block)) & ~np.isnan(block)):
        raise DataError(
            "not a count",
            where=f"{modality}, {_place(found, table.features, ids)}",
            met=_value(table.x, found),
            wanted="whole numbers from 0 on",
            hint="a count likelihood needs raw counts; give them, or use the gaussian likelihood",
        )


def _first(x: Array, wrong: Callable[[np.ndarray], np.ndarray]) -> tuple[int, int] | None:
    """Row and column of the first wrong value, looking at a block at a time."""
    if isinstance(x, np.ndarray):
        step = max(1, BLOCK // max(1, x.shape[1]))
        for start in range(0, len(x), step):
            bad = wrong(x[start : start + step])
            if bad.any():
                row, column = np.unravel_index(int(np.argmax(bad)), bad.shape)
                return start + int(row), int(column)
        return None
    bad = wrong(x.data)
    if not bad.any():
        return None
    at = int(np.argmax(bad))
    return int(np.searchsorted(x.indptr, at, side="right")) - 1, int(x.indices[at])


def _place(found: tuple[int, int], features: pd.Index, ids: pd.Index | None) -> str:
    sample = f"row {found[0]}" if ids is None else f"sample {str(ids[found[0]])!r}"
    return f"{sample}, feature {str(features[found[1]])!r}"


def _value(x: Array, found: tuple[int, int]) -> float:
    return float(str(x[found[0], found[1]]))  # as it is written: -0.066 is none of the numbers of single precision
