"""What is asked of a representation: a label, as classes or as a value, for the samples that have it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from isthmus.errors import listed

__all__ = ["MIN_CLASS", "Task", "kind_of", "task"]

log = logging.getLogger("isthmus.evaluate")

MIN_CLASS = 5
MOST_LEVELS = 10
"""A numeric label with more distinct values than this is a value to regress on, else a class."""

Kind = Literal["class", "value"]


@dataclass(frozen=True)
class Task:
    """A label on the samples that have it.

    `y_train` and `y_test` are class codes (positions in `classes`), or values where `classes` is empty; `rows_train`
    and `rows_test` say where in the representations their samples stand.
    """

    label: str
    kind: Kind
    classes: tuple[str, ...]
    rows_train: np.ndarray
    y_train: np.ndarray
    rows_test: np.ndarray
    y_test: np.ndarray


def kind_of(values: pd.Series) -> Kind:
    """Whether a label is a class (text, categories, bool, few distinct numbers) or a value."""
    if pd.api.types.is_bool_dtype(values.dtype) or not pd.api.types.is_numeric_dtype(values.dtype):
        return "class"
    return "value" if values.nunique() > MOST_LEVELS else "class"


def task(train: pd.Series, test: pd.Series, *, min_class: int = MIN_CLASS) -> Task | str:
    """A label as a task, or the reason why it is none. The kind and the classes are read off train alone."""
    label = str(train.name)
    if pd.api.types.is_datetime64_any_dtype(train.dtype):
        return "it holds dates"
    if kind_of(train) == "value":
        return _value_task(label, train, test)
    names_train, names_test = names_of(train), names_of(test)
    counts = pd.Series(names_train[~absent(names_train)]).value_counts()
    classes = tuple(sorted(counts.index[counts >= min_class]))
    if rare := sorted(counts.index[counts < min_class]):
        log.info("label %r: %s left out, fewer than %d training samples each", label, listed(rare), min_class)
    if unseen := sorted(set(names_test[~absent(names_test)]) - set(counts.index)):
        log.info("label %r: %s left out of the score, absent from the training samples", label, listed(unseen))
    if len(classes) < 2:
        return f"{len(classes)} classes have {min_class} training samples or more"
    code = {c: k for k, c in enumerate(classes)}
    rows_train, y_train = _coded(names_train, code)
    rows_test, y_test = _coded(names_test, code)
    if not len(rows_test):
        return "no test sample has one of its classes"
    return Task(label, "class", classes, rows_train, y_train, rows_test, y_test)


def _value_task(label: str, train: pd.Series, test: pd.Series) -> Task | str:
    sides = []
    for side in (train, test):
        values = pd.to_numeric(side, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(np.isfinite(values))
        sides.append((rows, values[rows]))
    (rows_train, y_train), (rows_test, y_test) = sides
    if len(rows_test) < 2:
        return f"{len(rows_test)} test samples have it"
    return Task(label, "value", (), rows_train, y_train, rows_test, y_test)


def names_of(values: pd.Series) -> np.ndarray:
    """Labels as text; missing ones as None. Whole numbers read the same in a column with gaps (1.0) and without (1)."""
    names = np.full(len(values), None, dtype=object)
    for k, value in enumerate(values):
        if not pd.isna(value):
            names[k] = plain_name(value)
    return names


def plain_name(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def absent(names: np.ndarray) -> np.ndarray:
    return np.array([n is None for n in names], dtype=bool)


def _coded(names: np.ndarray, code: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label is one of the classes, and its code."""
    codes = np.array([code.get(n, -1) for n in names], dtype=np.int64)
    rows = np.flatnonzero(codes >= 0)
    return rows, codes[rows]
