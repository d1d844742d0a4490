"""Labels as columns, and folds of the samples that have one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.tasks import kind_of

Labels = pd.Series | pd.DataFrame | np.ndarray | Sequence[Any]


def columns_of(labels: Labels, n: int, *, what: str = "label") -> pd.DataFrame:
    """One label or several as a table of n rows; one without a name is called `what`."""
    if isinstance(labels, pd.Series):
        labels = labels.to_frame(labels.name if labels.name is not None else what)
    elif not isinstance(labels, pd.DataFrame):
        if np.ndim(labels) != 1:
            raise DataError("are not one per sample", where=f"{what}s", met=np.shape(labels), wanted="one axis")
        labels = pd.DataFrame({what: labels})
    check_rows(n, len(labels), where=f"{what}s")
    if not len(labels.columns):
        raise DataError(f"there is no {what} to predict", where=f"{what}s")
    return labels


def codes_of(groups: pd.Series | np.ndarray | None, n: int) -> np.ndarray | None:
    """Groups as numbers, one per sample."""
    if groups is None:
        return None
    check_rows(n, len(groups), where="groups")
    return pd.factorize(pd.Series(np.asarray(groups, dtype=object)))[0]


def folded(
    labels: pd.Series, group: np.ndarray | None, folds: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Train and test rows of each fold, among the samples that have the label."""
    rows = np.flatnonzero(labels.notna().to_numpy())
    units = len(rows) if group is None else len(np.unique(group[rows]))
    if units < 2:
        raise DataError("has too few samples or groups for folds", where=str(labels.name), met=units, wanted="2")
    folds = min(folds, units)
    codes = pd.factorize(labels.iloc[rows])[0]
    if kind_of(labels) == "value" or np.bincount(codes).max() < folds:
        codes = np.zeros(len(rows), dtype=np.int64)  # nothing to stratify by
    kind = StratifiedKFold if group is None else StratifiedGroupKFold
    parts = kind(folds, shuffle=True, random_state=seed).split(rows, codes, None if group is None else group[rows])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # probes leave such classes out
        yield from ((rows[train], rows[test]) for train, test in parts)
