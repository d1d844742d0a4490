"""What the evaluation takes: samples x features, dense or CSR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from isthmus.errors import DataError

Matrix: TypeAlias = np.ndarray | sp.csr_matrix | sp.csr_array
"""Dense with NaN for missing, or CSR (a stored NaN is missing, an absent entry is zero)."""

BLOCK = 2**18
"""Entries worked on at once: what fits a cache, and no CSR matrix becomes dense as a whole."""


def blocks(n: int, f: int) -> Iterator[slice]:
    """Row ranges of at most `BLOCK` entries."""
    step = max(1, BLOCK // max(1, f))
    return (slice(start, min(n, start + step)) for start in range(0, n, step))


def dense(x: Matrix) -> np.ndarray:
    """Some rows as a dense float64 array."""
    return np.asarray(x if isinstance(x, np.ndarray) else x.toarray(), dtype=np.float64)


def floating(x: Matrix) -> Matrix:
    """The same values as floating-point numbers (integers become float64)."""
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def zero_filled(x: Matrix) -> Matrix:
    """Missing entries as 0; CSR stays CSR."""
    x = floating(x)
    values = x if isinstance(x, np.ndarray) else x.data
    if not (missing := np.isnan(values)).any():
        return x
    x = x.copy()
    (x if isinstance(x, np.ndarray) else x.data)[missing] = 0
    return x


def feature_means(x: Matrix) -> np.ndarray:
    """Mean of every feature over its observed entries.

    Parameters
    ----------
    x
        Samples x features (n x f), dense or CSR; NaN is missing, an absent entry of CSR is zero.

    Returns
    -------
    np.ndarray
        f means in float64; NaN for a feature without an observed entry.
    """
    if not isinstance(x, np.ndarray):
        missing = sp.csr_matrix((np.isnan(x.data), x.indices, x.indptr), shape=x.shape)
        n = x.shape[0] - np.asarray(missing.sum(axis=0)).ravel()
        total = np.asarray(zero_filled(x).sum(axis=0, dtype=np.float64)).ravel()
    else:
        n = np.asarray((~np.isnan(x)).sum(axis=0))
        total = np.asarray(np.nansum(x, axis=0, dtype=np.float64))
    means = np.full(x.shape[1], np.nan)
    np.divide(total, n, out=means, where=n > 0)
    return means


def known_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN over nothing."""
    known = ~np.isnan(values)
    total, n = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0))


def check_rows(n: int, met: int, *, where: str) -> None:
    """Refuse arrays that do not speak of the same samples."""
    if n != met:
        raise DataError("has another number of samples than the rest", where=where, met=met, wanted=str(n))


def check_table(x: Matrix, *, where: str) -> None:
    """Refuse what is not samples x numbers, or not finite."""
    if x.ndim != 2:
        raise DataError("is not samples x dimensions", where=where, met=x.shape, wanted="two axes")
    if x.dtype.kind not in "fiub":
        raise DataError("does not hold numbers", where=where, met=str(x.dtype))
    values = x if isinstance(x, np.ndarray) else x.data
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise DataError(f"{bad} of its entries are NaN or infinite", where=where, wanted="finite numbers")
