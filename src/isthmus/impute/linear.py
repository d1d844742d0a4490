"""Linear algebra that several methods share: ridge by one decomposition, its penalty by leaving one out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.ridge import left_out, spectrum

PENALTIES = np.logspace(-3, 6, 19)
"""Penalties that are tried, in units of the mean eigenvalue of the smaller Gram matrix."""
TINY = 1e-10
CHUNK = 1024
"""Rows that ridge works on at once."""
SINGLE = 1500
"""Tables whose smaller side is longer are decomposed in single precision: four times as fast, and precise enough to
choose penalties by and to shrink with."""
EXTRA, PASSES = 48, 8
"""Directions beyond those wanted and multiplications by the Gram matrix, for components of large tables."""


@dataclass(frozen=True)
class Decomposition:
    """X = U diag(s) V' of a centred table, from the eigenvalues of its smaller Gram matrix, strongest first.

    Attributes
    ----------
    u, s, v
        n x r, r, p x r; singular values below 1e-5 of the largest are left out (1e-3 of large tables).
    """

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Decomposition:
        """Decompose n x p in O(n p min(n, p)); in single precision where both sides are longer than 1500."""
        n, p = x.shape
        x = x.astype(np.float32, copy=False) if min(n, p) > SINGLE else x
        gram = x @ x.T if n <= p else x.T @ x
        s, vectors = spectrum(gram, 1e-6 if x.dtype == np.float32 else TINY)
        return cls(vectors, s, x.T @ vectors / s) if n <= p else cls(x @ vectors / s, s, vectors)

    @property
    def scale(self) -> float:
        """Mean eigenvalue of the Gram matrix."""
        return float((self.s**2).mean()) if len(self.s) else 1.0

    def coefficients(self, y: np.ndarray, penalty: float | np.ndarray) -> np.ndarray:
        """Ridge coefficients p x q of targets n x q; `penalty` is one number, or one a target."""
        inner = self.s[:, None] / (self.s[:, None] ** 2 + np.atleast_1d(penalty)[None, :])
        return np.asarray(self.v @ (inner * (self.u.T @ y)).astype(self.v.dtype))

    def left_out(self, y: np.ndarray, penalty: float) -> np.ndarray:
        """What ridge predicts of every sample when it is left out, n x q (the mean counts as one more direction)."""
        return np.asarray(y - next(left_out(self.u, self.s, y, [penalty])))

    def losses(self, y: np.ndarray) -> np.ndarray:
        """Leave-one-out mean squared error, penalties x targets."""
        y = y.astype(self.u.dtype, copy=False)
        return np.stack([(rest**2).mean(axis=0) for rest in left_out(self.u, self.s, y, PENALTIES * self.scale)])


def strongest(y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores n x k and loadings f x k of at most so many principal components of a centred table, strongest first.

    Of large tables they come from orthogonal iteration (Golub & Van Loan, Matrix Computations, 8.2.4).
    """
    n, f = y.shape
    if min(n, f) <= max(SINGLE, 2 * most):
        whole = Decomposition.of(y)
        k = min(len(whole.s), most)
        return whole.u[:, :k] * whole.s[:k], whole.v[:, :k]
    small = y.astype(np.float32)
    gram = small @ small.T if n <= f else small.T @ small
    q = np.random.default_rng(0).normal(size=(len(gram), most + EXTRA)).astype(np.float32)
    for _ in range(PASSES):
        q = linalg.qr(gram @ q, mode="economic", overwrite_a=True, check_finite=False)[0]
    values, turn = linalg.eigh(q.T @ (gram @ q), check_finite=False)
    kept = np.flatnonzero(values > TINY**0.5 * values.max())[::-1][:most]
    vectors = q @ turn[:, kept]
    loadings = small.T @ (vectors / np.sqrt(values[kept])) if n <= f else vectors
    return y @ loadings, loadings


def simple_fill(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`x` minus the means, 0 where missing or where there is no mean."""
    centred = x - mean
    centred[np.isnan(centred)] = 0
    return np.asarray(centred)


def shared_rows(x: np.ndarray, source: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The training samples that show both tables; None where they are fewer than two."""
    if source is None:
        return None
    rows = ~np.isnan(x).all(axis=1) & ~np.isnan(source).all(axis=1)
    if rows.sum() < 2:
        return None
    return (x, source) if rows.all() else (x[rows], source[rows])


def paired(
    x: np.ndarray, source: np.ndarray | None, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """The training samples that show both tables: centred target and its gaps, the source's means, centred source."""
    if (both := shared_rows(x, source)) is None:
        return None
    x, source = both
    source_mean = np.nan_to_num(feature_means(source))
    return simple_fill(x, mean), np.isnan(x), source_mean, simple_fill(source, source_mean)


class RidgeSystem:
    """Ridge regression of a table with gaps on a source, some rows at a time: neither is copied.

    Parameters
    ----------
    x, y
        Source n x p and table n x f, NaN where missing.
    means
        Of both.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, means: tuple[np.ndarray, np.ndarray]) -> None:
        self.x, self.y, (self.x_mean, self.y_mean) = x, y, means
        n, p = x.shape
        self.dual = n <= p
        if self.dual:
            centred = simple_fill(x, self.x_mean)
            self.gram = np.asfortranarray(centred @ centred.T)
        else:
            self.gram = np.zeros((p, p), order="F")
            for rows in self._parts():
                part = simple_fill(x[rows], self.x_mean)
                self.gram = blas.dsyrk(1.0, part.T, beta=1.0, c=self.gram, lower=1, overwrite_c=1)
        self.scale = float(np.trace(self.gram)) / max(min(n - 1, p), 1) or 1.0

    def _parts(self) -> Iterator[slice]:
        return (slice(i, i + CHUNK) for i in range(0, len(self.x), CHUNK))

    def solve(self, penalty: float, rounds: int) -> np.ndarray:
        """Coefficients p x f; gaps of the table are filled with what the round before predicts. Uses the system up."""
        self.gram[np.diag_indices(len(self.gram))] += penalty
        factor = linalg.cho_factor(self.gram, lower=True, overwrite_a=True, check_finite=False)
        found: np.ndarray | None = None
        for _ in range(rounds):
            found = self._dual(factor, found) if self.dual else self._primal(factor, found)
        return np.asarray(found)

    def _filled(self, rows: slice, x: np.ndarray, found: np.ndarray | None) -> np.ndarray:
        y = self.y[rows] - self.y_mean
        gaps = np.isnan(y)
        if gaps.any():
            y[gaps] = 0 if found is None else (x @ found)[gaps]
        return np.asarray(y)

    def _primal(self, factor: tuple[np.ndarray, bool], found: np.ndarray | None) -> np.ndarray:
        right = np.zeros((self.x.shape[1], self.y.shape[1]), order="F")
        for rows in self._parts():
            x = simple_fill(self.x[rows], self.x_mean)
            right = blas.dgemm(
                1.0, x.T, self._filled(rows, x, found).T, beta=1.0, c=right, trans_b=1, overwrite_c=1
            )  # fmt: skip
        return np.asarray(linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False))

    def _dual(self, factor: tuple[np.ndarray, bool], found: np.ndarray | None) -> np.ndarray:
        x = simple_fill(self.x, self.x_mean)
        weights = linalg.cho_solve(factor, self._filled(slice(None), x, found), overwrite_b=True, check_finite=False)
        return np.asarray(x.T @ weights)
