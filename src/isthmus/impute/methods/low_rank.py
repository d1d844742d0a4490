r"""A low-rank matrix, by alternating ridge regressions with the penalty of the nuclear norm (softImpute).

.. math:: \min_{A, B} \; \tfrac12 \sum_{(i,j) \in \Omega} (x_{ij} - a_i' b_j)^2
          + \tfrac\lambda2 (\lVert A \rVert_F^2 + \lVert B \rVert_F^2)

over the observed entries of the centred table has the solution of the nuclear-norm problem where the rank suffices
(Mazumder, Hastie & Tibshirani, Spectral regularization algorithms, JMLR 2010; Hastie et al., Matrix completion and
low-rank SVD via fast alternating least squares, JMLR 2015, arXiv:1410.2596). A new sample's :math:`a` is the ridge
regression of its visible entries on :math:`B`. A sample that shows nothing of the table is filled by way of `source`:
the same on both tables side by side. The penalty is the one that fills samples best that the factors have not seen: a
fifth of the training samples is set aside, with a fifth of the entries hidden (of both tables side by side, the whole
row), going down from the largest singular value with warm starts; of large tables on a draw of samples, and scaled as
the singular values of noise are. (Entries hidden from samples that are seen would be too kind to small penalties:
a path that is stopped early fills those well, and a regression on its loadings does not.)
"""

from __future__ import annotations

from typing import ClassVar, no_type_check

import numpy as np
from numba import njit

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Imputer, Penalty, Positive

HIDDEN = ASIDE = 0.2
LEAST_TRIED, MOST_ASIDE = 60, 200
"""Rows to be filled for the choice of a penalty: those set aside, hidden in several ways where they are few."""
STREAM = (0x10E, 1)
"""Seed of what is hidden: no stream that a mask of the caller could share."""
PATH = (-0.5, -4.5, 17)
"""Base-10 logarithms of the first and last penalty as shares of the largest singular value, and how many."""
ITERATIONS, ON_THE_WAY = 30, 8
"""At the penalty that is taken, and at each of those that are tried."""
TOLERANCE = 1e-3
LARGE = 500_000
"""Tables of more entries are factored in single precision, which takes half the time and is no worse on noisy data."""
CHUNK = 256
MOST_ROWS = 1000
"""Samples on which the penalty is chosen; a random draw of larger tables (see `LARGER`)."""
LARGER = 8_000_000
"""Entries of tables whose penalty is chosen on a draw of samples."""


class LowRank(Imputer):
    """A low-rank matrix under the nuclear norm.

    Parameters
    ----------
    rank
        Largest rank.
    penalty
        Share of the largest singular value; None chooses on hidden training entries.
    """

    reads: ClassVar[tuple[str, ...]] = ("entries", "source")
    effort: ClassVar[int] = 4

    def __init__(self, rank: Positive = 200, penalty: Penalty | None = None) -> None:
        self.rank, self.penalty = rank, penalty

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.joint_ = None
        self.own_, self.penalty_ = self._factor(x - self.mean_)
        if source is not None:
            self.source_mean_ = np.nan_to_num(feature_means(source))
            both = np.hstack([x - self.mean_, (source - self.source_mean_) * self._balance(x, source)])
            self.joint_, self.joint_penalty_ = self._factor(both, x.shape[1])

    @staticmethod
    def _balance(x: np.ndarray, source: np.ndarray) -> float:
        """The factor that lets both tables weigh alike."""
        return float(np.sqrt(x.shape[1] / source.shape[1]))

    def _factor(self, x: np.ndarray, first: int = 0) -> tuple[np.ndarray, float]:
        """Loadings B (features x rank) and penalty of a centred table with gaps, whose `first` columns are the task."""
        x = x.astype(np.float32) if x.size > LARGE else x
        rank, start = min(self.rank, *x.shape), None
        if self.penalty is not None:
            best = self.penalty * _largest(np.nan_to_num(x))
        elif x.size <= LARGER:
            best, start = _choice(x, rank, first)
        else:
            few = np.sort(np.random.default_rng(STREAM).permutation(len(x))[:MOST_ROWS])
            best, start = _choice(x[few], min(rank, len(few)), first)
            best *= _edge(x.shape) / _edge((len(few), x.shape[1]))
        return _Factors(x, rank if start is None else start.shape[1], start).descend([best]).loadings(best), best

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        found = self.mean_ + _project(x - self.mean_, self.own_, self.penalty_)
        empty = np.isnan(x).all(axis=1)
        found[empty] = np.nan
        if self.joint_ is not None and source is not None and empty.any():
            scaled = (source[empty] - self.source_mean_) * self._balance(x, source)
            both = np.hstack([np.full((int(empty.sum()), x.shape[1]), np.nan), scaled])
            found[empty] = self.mean_ + _project(both, self.joint_, self.joint_penalty_)[:, : x.shape[1]]
            found[empty & np.isnan(source).all(axis=1)] = np.nan
        return np.asarray(found)


def _choice(x: np.ndarray, rank: int, first: int) -> tuple[float, np.ndarray]:
    """The penalty that fills samples set aside best, and the loadings of the others that it left."""
    rng = np.random.default_rng(STREAM)
    able = np.flatnonzero(~np.isnan(x[:, : first or None]).all(axis=1))  # the others could not say what is right
    aside = np.sort(able[rng.permutation(len(able))[: max(1, min(MOST_ASIDE, round(ASIDE * len(able))))]])
    rows = np.repeat(x[aside], 1 if first else max(1, LEAST_TRIED // len(aside)), axis=0)
    hidden = np.arange(x.shape[1]) < first if first else rng.random(rows.shape) < HIDDEN
    held = hidden & ~np.isnan(rows)
    shown, truth, rest = np.where(hidden, np.nan, rows), rows[held], np.delete(x, aside, axis=0)
    factors, largest = _Factors(rest, min(rank, len(rest))), _largest(np.nan_to_num(rest))
    errors: list[float] = []
    best, start = largest, factors.b
    for penalty in largest * np.logspace(*PATH):
        factors.descend([penalty], ON_THE_WAY)
        said = _project(shown, factors.loadings(penalty), penalty)[held]
        errors.append(float(((said - truth) ** 2).mean()) if len(truth) else np.inf)
        if errors[-1] < min(errors[:-1], default=np.inf):
            best, start = float(penalty), factors.b
        if len(errors) > 2 and errors[-1] > errors[-2] > errors[-3]:
            break
    return best, start


def _edge(shape: tuple[int, ...]) -> float:
    """How the largest singular value of noise grows with a table: sqrt(n) + sqrt(f) (Marchenko & Pastur)."""
    return float(np.sqrt(shape[0]) + np.sqrt(shape[1]))


def _start(p: int, rank: int) -> np.ndarray:
    """Orthonormal columns, the same at every call."""
    return np.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(p, rank)))[0])


def _largest(x: np.ndarray) -> float:
    """Largest singular value, by power iteration."""
    v = _start(x.shape[1], 1).astype(x.dtype)
    for _ in range(20):
        v = x.T @ (x @ v)
        v /= max(float(np.linalg.norm(v)), 1e-300)
    return float(np.linalg.norm(x @ v)) or 1.0


class _Factors:
    """A table with gaps and its factors A B', moved by alternating ridge regressions."""

    def __init__(self, x: np.ndarray, rank: int, b: np.ndarray | None = None) -> None:
        self.missing, self.filled = np.isnan(x), np.nan_to_num(x)
        self.b = _start(x.shape[1], rank).astype(x.dtype) if b is None else b
        self.a = np.zeros((len(x), rank), dtype=x.dtype)

    def descend(self, path: list[float], iterations: int = ITERATIONS) -> _Factors:
        """Go down a path of penalties, each started from where the one before ended."""
        for penalty in path:
            for _ in range(iterations):
                self.a = _ridge(self.filled, self.b, penalty)
                self.b = _ridge(self.filled.T, self.a, penalty)
                moved, size = self._fill()
                if moved <= TOLERANCE**2 * size:
                    break
        return self

    def _fill(self) -> tuple[float, float]:
        """Write A B' into the gaps, some rows at a time; by how much they moved, and their size, as sums of squares."""
        moved = size = 0.0
        for start in range(0, len(self.filled), CHUNK):
            rows = slice(start, start + CHUNK)
            m, s = _write(self.filled[rows], self.missing[rows], self.a[rows] @ self.b.T)
            moved, size = moved + m, size + s
        return moved, size

    def loadings(self, penalty: float) -> np.ndarray:
        """B at which both factors weigh alike: V sqrt(s), s the filled table's singular values, soft-thresholded."""
        directions = np.linalg.qr(self.b)[0]
        _, s, vt = np.linalg.svd(self.filled @ directions, full_matrices=False)
        left = s - penalty
        kept = (directions @ vt.T)[:, left > 0] * np.sqrt(left[left > 0])
        return np.asarray(kept, dtype=np.float64)


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _write(filled, missing, product):  # noqa: ANN001, ANN202
    moved, size = 0.0, 0.0
    for i in range(filled.shape[0]):
        for j in range(filled.shape[1]):
            if missing[i, j]:
                after = product[i, j]
                moved += (after - filled[i, j]) ** 2
                size += after * after
                filled[i, j] = after
    return moved, size


def _ridge(x: np.ndarray, b: np.ndarray, penalty: float) -> np.ndarray:
    """argmin_A |X - A B'|^2 + penalty |A|^2."""
    gram = b.T @ b + b.dtype.type(penalty) * np.eye(b.shape[1], dtype=b.dtype)
    return np.asarray(np.linalg.solve(gram, b.T @ x.T).T)


def _project(x: np.ndarray, b: np.ndarray, penalty: float) -> np.ndarray:
    """Every entry of rows with gaps: a_i' b_j, a_i by ridge of the visible entries on B."""
    b = b.astype(np.float64)  # small penalties leave nearly singular systems
    shown = ~np.isnan(x)
    _, first, which = np.unique(np.packbits(shown, axis=1), axis=0, return_index=True, return_inverse=True)
    alike = np.split(np.argsort(which.ravel(), kind="stable"), np.cumsum(np.bincount(which.ravel()))[:-1])
    whole, diagonal = b.T @ b, penalty * np.eye(b.shape[1])
    out = np.zeros(x.shape)
    for row, rows in zip(first, alike, strict=True):
        seen, unseen = b[shown[row]], b[~shown[row]]
        gram = seen.T @ seen if len(seen) <= len(unseen) else whole - unseen.T @ unseen
        a = np.linalg.solve(gram + diagonal, seen.T @ x[np.ix_(rows, shown[row])].T)
        out[rows] = (b @ a).T
    return out
