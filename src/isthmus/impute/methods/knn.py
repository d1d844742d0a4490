r"""The mean of the k nearest training samples that show the feature, by a distance over what both samples have.

The squared distance of two rows is :math:`f / |O| \sum_{j \in O} (a_j - b_j)^2` over the features O that both show
(Troyanskaya et al., Missing value estimation methods for DNA microarrays, Bioinformatics 2001,
doi:10.1093/bioinformatics/17.6.520; scikit-learn's `KNNImputer`). A sample that shows nothing of the table at all is
compared over `source` instead.

Matrix products in single precision bound the distances of some rows to all donors; those that may be among the nearest
are computed again, exactly, and sorted. How far off a product of n terms may be is taken as :math:`8 \sqrt n u` of its
size (Higham & Mary, A new approach to probabilistic rounding error analysis, SIAM J Sci Comput 2019,
doi:10.1137/18M1226312). Of donors at the same distance the one earlier in training counts first.
"""

from __future__ import annotations

import math
from typing import ClassVar, no_type_check

import numpy as np
from numba import njit

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Imputer, Positive

ROWS, DONORS = 512, 1024
"""Rows and donors worked on at once."""
MORE = 8
"""How many times as many donors are looked at where the first ones do not show the feature."""


class KNN(Imputer):
    """Mean of the k nearest training samples that show the feature.

    Parameters
    ----------
    k
        Number of neighbours.
    """

    reads: ClassVar[tuple[str, ...]] = ("entries", "source")
    effort: ClassVar[int] = 3

    def __init__(self, k: Positive = 10) -> None:
        self.k = k

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.x_, self.source_ = x, source

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        out = np.full(x.shape, np.nan)
        missing = np.isnan(x)
        empty = missing.all(axis=1)
        values = np.ascontiguousarray(self.x_)
        for rows, here, there in ((~empty & missing.any(axis=1), x, self.x_), (empty, source, self.source_)):
            if here is None or there is None:
                continue
            index = np.flatnonzero(rows & ~np.isnan(here).all(axis=1))
            donors = _Donors(there)
            for start in range(0, len(index), ROWS):
                part = index[start : start + ROWS]
                out[part] = self._means(donors, np.ascontiguousarray(here[part]), missing[part], values)
        return out

    def _means(self, donors: _Donors, rows: np.ndarray, missing: np.ndarray, values: np.ndarray) -> np.ndarray:
        """For the missing entries of some rows the means of the first k donors that show them, NaN where none does."""
        out = np.full(missing.shape, np.nan)
        low, high = donors.bounds(rows)
        pending, enough = np.arange(len(rows)), self._enough(values, missing)
        while len(pending):
            most = np.full(len(pending), np.inf)
            if enough < high.shape[1]:
                most = np.partition(high[pending], enough - 1, axis=1)[:, enough - 1].astype(np.float64)
            left = np.ones(len(pending), dtype=np.bool_)
            found = out[pending]
            bounds = (low[pending], most, missing[pending])
            _average(rows[pending], donors.x, values, bounds, (self.k, donors.scale**-2), (found, left))
            out[pending] = found
            pending, enough = pending[left], MORE * enough
        return out

    def _enough(self, values: np.ndarray, missing: np.ndarray) -> int:
        """How many of the nearest donors should show nearly every feature k times."""
        share = 1 - np.isnan(values[:: max(1, len(values) // 500)][:, missing.any(axis=0)]).mean(axis=0)
        return math.ceil(2 * self.k / max(float(np.quantile(share, 0.1)), 0.1)) + 8


class _Donors:
    """Training rows, and bounds on their distances to others."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = np.ascontiguousarray(x)
        self.centre = np.nan_to_num(feature_means(x))
        size = float(np.abs(x[~np.isnan(x)]).max(initial=0))
        own = size > 1e6 or 0 < size < 1e-6  # squares must neither overflow nor vanish
        self.scale = min(max(size, 1e-150), 1e150) if own else 1.0

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the squared distances, rows by donors, lie between; infinite where two show no feature in common."""
        a, shown, whole = self._ready(rows)
        low, high = (np.empty((len(rows), len(self.x)), dtype=a.dtype) for _ in range(2))
        own, f = np.square(a), rows.shape[1]
        slack = 8 * math.sqrt(f + 16) * float(np.finfo(a.dtype).eps)
        for start in range(0, len(self.x), DONORS):
            b, there, complete = self._ready(self.x[start : start + DONORS], a.dtype)
            block = slice(start, start + len(b))
            cross = a @ b.T
            np.square(b, out=b)
            size = own.sum(axis=1)[:, None] if complete else own @ there.T
            size = size + (b.sum(axis=1) if whole else shown @ b.T)
            cross = size - 2 * cross
            low[:, block], high[:, block] = cross - slack * size, cross + slack * size
            if not (whole and complete):
                with np.errstate(divide="ignore", invalid="ignore"):
                    times = f / (shown @ there.T)
                    low[:, block] *= times
                    high[:, block] *= times
                low[:, block][np.isinf(times)] = high[:, block][np.isinf(times)] = np.inf
        return low, high

    def _ready(self, x: np.ndarray, dtype: type | np.dtype | None = None) -> tuple[np.ndarray, np.ndarray, bool]:
        """Centred values, 0 where missing; what is shown; whether all is."""
        shown = ~np.isnan(x)
        centred = np.where(shown, x - self.centre, 0) / self.scale
        if dtype is None:
            dtype = np.float32 if np.abs(centred).max(initial=0) < 1e12 else np.float64
        return centred.astype(dtype), shown.astype(dtype), bool(shown.all())


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _distance(a: np.ndarray, b: np.ndarray) -> float:
    total, n = 0.0, 0
    for j in range(len(a)):
        d = a[j] - b[j]
        both = d == d
        total += d * d if both else 0.0
        n += 1 if both else 0
    return total * (len(a) / n) if n > 0 else np.inf


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _average(rows, donors, values, bounds, numbers, results) -> None:  # noqa: ANN001
    """Means of the first k donors within the bound, feature by feature, and for which rows these do not suffice."""
    (low, most, missing), (k, unit), (out, left) = bounds, numbers, results
    near, distances = np.empty(len(donors), dtype=np.int64), np.empty(len(donors))
    for i in range(len(rows)):
        found = 0
        for j in range(len(donors)):
            if low[i, j] <= most[i] and low[i, j] < np.inf:
                near[found], distances[found] = j, unit * _distance(rows[i], donors[j])
                found += 1
        count = np.where(missing[i], 0, k)
        total = np.zeros(len(count))
        open_ = missing[i].sum()
        for at in np.argsort(distances[:found], kind="mergesort"):
            if open_ == 0 or distances[at] > most[i]:
                break
            donor = values[near[at]]
            for c in range(len(count)):
                if count[c] < k and donor[c] == donor[c]:
                    total[c] += donor[c]
                    count[c] += 1
                    open_ -= count[c] == k
        for c in range(len(count)):
            if missing[i, c]:
                out[i, c] = total[c] / count[c] if count[c] > 0 else np.nan
        left[i] = open_ > 0 and most[i] < np.inf
