"""Columns made ready for correlation: ranks, residuals of a design, unit norm.

`standard` makes float64 columns of a few features. A `Side` holds all features of one modality as float32 rows, made
some thousand at a time, and gives any of them in float64 again, from which whatever is listed is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from isthmus.errors import DataError

__all__ = ["Kind", "Side", "Standard", "design_matrix", "orthonormal", "side", "standard"]

Kind = Literal["spearman", "pearson", "bicor"]
FLAT = 1e-10
"""A column whose sum of squares is below this share of what it was before a design was taken out is flat."""
CHUNK = 4096
"""Features that are made ready together."""
REACH = 9.0
"""Median absolute deviations beyond which the biweight midcorrelation gives no weight."""


@dataclass(frozen=True)
class Standard:
    """Columns of mean 0 and norm 1, so that a product of two is their correlation.

    Attributes
    ----------
    z
        n x f; 0 throughout in a flat column.
    flat
        Which columns do not vary.
    tied
        Whether any column that varies has ties (ranks only).
    """

    z: np.ndarray
    flat: np.ndarray
    tied: bool


@dataclass(frozen=True)
class Side:
    """Features of one modality over the samples that all of them show.

    Attributes
    ----------
    values
        The whole table, samples x features, as it was given.
    rows
        The n samples.
    live
        The f features that vary, by position in the table.
    z
        f x n, float32: each feature with mean 0 and norm 1.
    tied
        Whether any feature that varies has ties (ranks only).
    kind, design
        What `z` was made by; `design` is n x g with its constant, or None.
    """

    values: np.ndarray
    rows: np.ndarray
    live: np.ndarray
    z: np.ndarray
    tied: bool
    kind: Kind
    design: np.ndarray | None

    def exact(self, features: np.ndarray, *, marginal: bool = False) -> np.ndarray:
        """Some rows of `z` in float64, len(features) x n; `marginal` leaves the design in."""
        out = np.empty((len(features), len(self.rows)))
        for part in _chunks(len(features)):
            values = self.values[np.ix_(self.rows, self.live[features[part]])].astype(np.float64)
            out[part] = standard(values, self.kind, None if marginal else self.design).z.T
        return out


def side(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, kind: Kind, *, design: np.ndarray | None) -> Side:
    """The features `columns` of a table (samples x features) over the samples `rows`; `design` has len(rows) rows."""
    z, kept, tied = np.empty((len(columns), len(rows)), dtype=np.float32), np.ones(len(columns), dtype=bool), False
    for part in _chunks(len(columns)):
        made = standard(values[np.ix_(rows, columns[part])].astype(np.float64), kind, design)
        z[part], kept[part], tied = made.z.T, ~made.flat, tied or made.tied
    live = columns if kept.all() else columns[kept]
    return Side(values, rows, live, z if kept.all() else z[kept], tied, kind, design)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK))


def standard(values: np.ndarray, kind: Kind, design: np.ndarray | None = None) -> Standard:
    """Columns n x f, without gaps, ready for `kind`; `design` (n x g, with its constant) is taken out of them."""
    n = len(values)
    tied = False
    if kind == "spearman":
        z = 2.0 * rankdata(values, axis=0) - (n + 1)
        squares = (z**2).sum(axis=0)
        tied = bool(((squares > 0) & (squares < n * (n * n - 1) / 3 - 0.5)).any())
    else:
        z = values - values.mean(axis=0) if kind == "pearson" else _biweight(values)
        z[:, (values == values[:1]).all(axis=0)] = 0.0  # equal values differ from their own mean by rounding
    before = (z**2).sum(axis=0)
    if design is not None:
        basis = orthonormal(design)
        z = z - basis @ (basis.T @ z)
    norm = (z**2).sum(axis=0)
    flat = norm <= FLAT * np.maximum(before, np.finfo(float).tiny)
    return Standard(np.where(flat, 0.0, z / np.sqrt(np.where(flat, 1.0, norm))), flat, tied)


def _biweight(values: np.ndarray) -> np.ndarray:
    """Deviations from the median under Tukey's biweight (Langfelder & Horvath 2012, doi:10.18637/jss.v046.i11)."""
    middle = np.median(values, axis=0)
    off = values - middle
    mad = np.median(np.abs(off), axis=0)
    u = off / (REACH * np.where(mad > 0, mad, 1.0))
    weighted = off * np.where(np.abs(u) < 1, (1 - u**2) ** 2, 0.0)
    return np.asarray(np.where(mad > 0, weighted, values - values.mean(axis=0)))


def design_matrix(design: pd.Series | pd.DataFrame, ids: pd.Index) -> np.ndarray:
    """A constant, numbers as they are and levels as indicators: n x g, of full rank.

    Raises
    ------
    DataError
        A sample has no value, or the design leaves no freedom.
    """
    frame = design.to_frame() if isinstance(design, pd.Series) else design
    if not isinstance(frame, pd.DataFrame):
        met, wanted = type(design).__name__, "a Series or a DataFrame, such as mdata.obs[['site']]"
        raise DataError("has no sample ids", where="design", met=met, wanted=wanted)
    if missing := len(ids) - int(ids.isin(frame.index).sum()):
        raise DataError(f"lacks {missing} of the samples", where="design", wanted=f"a row for each of {len(ids)}")
    frame = frame.loc[ids]
    if frame.isna().any(axis=None):
        column = frame.columns[frame.isna().any()][0]
        raise DataError(
            "has samples without a value", where=f"design, column {column!r}", met=int(frame[column].isna().sum())
        )
    numbers = [c for c in frame if pd.api.types.is_numeric_dtype(frame[c]) and not pd.api.types.is_bool_dtype(frame[c])]
    values = frame[numbers].to_numpy(float)
    values -= values.mean(axis=0)  # large numbers, such as dates, would drown the constant and the levels in rounding
    parts = [np.ones((len(ids), 1)), values / np.maximum(np.abs(values).max(axis=0), np.finfo(float).tiny)]
    for column in frame.columns.difference(numbers, sort=False):
        parts.append(pd.get_dummies(frame[column].astype(str), drop_first=True).to_numpy(float))  # noqa: PERF401
    matrix = np.hstack(parts)
    kept = orthonormal(matrix)
    if len(ids) - kept.shape[1] < 2:
        raise DataError(
            "leaves no freedom", where="design", met=f"{kept.shape[1]} columns for {len(ids)} samples",
            wanted="at least two samples more than columns",
        )  # fmt: skip
    return kept


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what the columns (n x g) span, n x rank: some samples may lack a level of a design."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, s > 1e-10 * s.max()])
