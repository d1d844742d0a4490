"""Statistics per feature: NaN is left out, sums run in float64, a block of columns is in memory at a time.

Every answer has one number per feature. A feature without an observed value gives NaN (counts give 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from isthmus.data.table import Array

BLOCK = 1 << 22
"""Values in a block."""


@dataclass(frozen=True)
class Moments:
    """Per feature: number of observed values, their mean, variance (divided by the number), smallest and largest."""

    count: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def idle(self) -> np.ndarray:
        """Features with fewer than two observed values, or with one value throughout."""
        return (self.count < 2) | ~(self.high > self.low)


def blocks(x: Array) -> Iterator[tuple[slice, np.ndarray]]:
    """Columns some at a time, as float64 of shape features x samples."""
    width = max(1, BLOCK // max(1, x.shape[0]))
    source = x if isinstance(x, np.ndarray) else sp.csc_matrix(x)
    for start in range(0, x.shape[1], width):
        where = slice(start, min(start + width, x.shape[1]))
        some = source[:, where]
        dense = some if isinstance(some, np.ndarray) else some.toarray()
        yield where, np.ascontiguousarray(dense.T, dtype=np.float64)


def moments(x: Array) -> Moments:
    """Count, mean, variance and range per feature; the variance in two passes."""
    if not isinstance(x, np.ndarray):
        return _sparse_moments(x)
    f = x.shape[1]
    found = Moments(np.zeros(f, np.int64), *(np.full(f, np.nan) for _ in range(4)))
    for where, block in blocks(x):
        missing = np.isnan(block)
        gaps = bool(missing.any())
        count = block.shape[1] - missing.sum(axis=1)
        some = count > 0
        per = np.maximum(count, 1)
        low = np.fmin.reduce(block, axis=1)
        mean = (np.where(missing, 0.0, block) if gaps else block).sum(axis=1) / per
        centred = block - mean[:, None]
        if gaps:
            centred[missing] = 0.0
        found.count[where] = count
        found.low[where], found.high[where] = low, np.fmax.reduce(block, axis=1)
        found.mean[where] = np.where(some, mean, np.nan)
        found.var[where] = np.where(some, np.einsum("ij,ij->i", centred, centred) / per, np.nan)
    return found


def _sparse_moments(x: sp.csr_matrix) -> Moments:
    """The same of CSR, without making any of it dense."""
    n, f = x.shape
    data, column = x.data.astype(np.float64), x.indices
    missing = np.isnan(data)
    here = column if not missing.any() else column[~missing]
    data = data if not missing.any() else data[~missing]
    stored = np.bincount(here, minlength=f)
    count = n - np.bincount(column[missing], minlength=f)
    zeros = count - stored
    some, per = count > 0, np.maximum(count, 1)
    mean = np.bincount(here, weights=data, minlength=f) / per
    spread = np.bincount(here, weights=(data - mean[here]) ** 2, minlength=f) + zeros * mean**2
    low, high = np.where(zeros > 0, 0.0, np.inf), np.where(zeros > 0, 0.0, -np.inf)
    np.minimum.at(low, here, data)
    np.maximum.at(high, here, data)
    return Moments(count, *(np.where(some, v, np.nan) for v in (mean, spread / per, low, high)))


def quantiles(x: Array, q: Sequence[float]) -> np.ndarray:
    """Quantiles per feature by linear interpolation: len(q) x f."""
    found = np.full((len(q), x.shape[1]), np.nan)
    for where, block in blocks(x):
        found[:, where] = _quantiles(block, q)
    return found


def mad(x: Array) -> np.ndarray:
    """Median distance from the median, per feature; not scaled to a standard deviation."""
    found = np.full(x.shape[1], np.nan)
    for where, block in blocks(x):
        found[where] = _quantiles(np.abs(block - _quantiles(block, [0.5])[0][:, None]), [0.5])[0]
    return found


def _quantiles(block: np.ndarray, q: Sequence[float]) -> np.ndarray:
    """Quantiles of the rows of a block; NaN sorts to the end and is not counted."""
    count = block.shape[1] - np.isnan(block).sum(axis=1)
    ordered = np.sort(block, axis=1)
    rows = np.arange(len(block))
    out = np.empty((len(q), len(block)))
    for i, share in enumerate(q):
        at = share * np.maximum(count - 1, 0)
        under = np.floor(at).astype(np.int64)
        over = np.minimum(under + 1, np.maximum(count - 1, 0))
        first, second = ordered[rows, under], ordered[rows, over]
        out[i] = first + (at - under) * (second - first)
    return out


def nonzero(x: Array) -> np.ndarray:
    """Share of observed values that are not zero, per feature; 0 where nothing is observed."""
    if not isinstance(x, np.ndarray):
        missing = np.isnan(x.data)
        count = x.shape[0] - np.bincount(x.indices[missing], minlength=x.shape[1])
        hits = np.bincount(x.indices[~missing & (x.data != 0)], minlength=x.shape[1])
        return np.asarray(hits / np.maximum(count, 1))
    found = np.zeros(x.shape[1])
    for where, block in blocks(x):
        observed = ~np.isnan(block)
        found[where] = (observed & (block != 0)).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
    return found


def row_sums(x: Array) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the observed values of each sample, n each."""
    if not isinstance(x, np.ndarray):
        missing = np.isnan(x.data)
        row = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        values = np.where(missing, 0.0, x.data.astype(np.float64))
        gone = np.bincount(row[missing], minlength=x.shape[0])
        return np.bincount(row, weights=values, minlength=x.shape[0]), x.shape[1] - gone
    return np.asarray(np.nansum(x, axis=1, dtype=np.float64)), x.shape[1] - np.isnan(x).sum(axis=1)
