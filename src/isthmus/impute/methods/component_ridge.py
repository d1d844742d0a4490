r"""Ridge regression from another modality onto the principal components of the table, each with its own penalty.

With :math:`Y = T P'` the principal components of the centred table, every score :math:`t_k` is regressed on the source
with the penalty that leaves one out best, and :math:`\hat Y = \hat T P'`. What the source says of the strong
components is so not shrunk like what it says of the weak ones, which one penalty for all does (compare Breiman &
Friedman, Predicting multivariate responses in multiple linear regression, JRSS B 1997, doi:10.1111/1467-9868.00054).
With `kernel`, the source may enter by a Gaussian kernel of its rows as well; each component takes the better of both.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from isthmus.impute.imputer import Imputer
from isthmus.impute.linear import PENALTIES, Decomposition, paired, simple_fill, strongest

ROUNDS = 2
MOST_COMPONENTS = 512


class ComponentRidge(Imputer):
    """Ridge regression from `source` onto principal components, each with its own penalty.

    Parameters
    ----------
    kernel
        Try a Gaussian kernel of the source, too.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 3

    def __init__(self, *, kernel: bool = False) -> None:
        self.kernel = kernel

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.coefficients_: list[np.ndarray] | None = None
        if (pair := paired(x, source, self.mean_)) is None:
            return
        y, missing, self.source_mean_, centred = pair
        views = [centred]
        if self.kernel:
            self.source_, self.width_ = centred, _median_distance(centred)
            gram = _gaussian(centred, centred, self.width_)
            self.gram_mean_ = gram.mean(axis=0)
            views.append(_root(gram))
        parts = [Decomposition.of(v - v.mean(axis=0)) for v in views]
        for _ in range(ROUNDS if missing.any() else 1):
            y = self._fit(parts, y, missing)
        if self.kernel:
            self._to_dual(gram)

    def _fit(self, parts: list[Decomposition], y: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Regress the components of `y`; gives `y` with its missing entries predicted."""
        scores, self.loadings_ = strongest(y, MOST_COMPONENTS)
        k = scores.shape[1]
        losses = np.stack([p.losses(scores) for p in parts])
        best = losses.reshape(-1, k).argmin(axis=0)
        self.view_, penalty = best // len(PENALTIES), PENALTIES[best % len(PENALTIES)]
        self.coefficients_ = [
            p.coefficients(scores[:, self.view_ == i], penalty[self.view_ == i] * p.scale) for i, p in enumerate(parts)
        ]
        self.left_out_loss_ = losses.reshape(-1, k).min(axis=0)
        fitted = np.zeros_like(scores)
        for i, p in enumerate(parts):
            fitted[:, self.view_ == i] = (p.u * p.s) @ (p.v.T @ self.coefficients_[i])
        return np.where(missing, fitted @ self.loadings_.T, y) if missing.any() else y

    def _to_dual(self, gram: np.ndarray) -> None:
        """Coefficients of the kernel's square root as weights of training rows, which new rows can be compared with."""
        root = _root(gram)
        assert self.coefficients_ is not None
        self.dual_ = np.linalg.lstsq(gram, root @ self.coefficients_[1], rcond=1e-10)[0]
        self.offset_ = -(root.mean(axis=0) @ self.coefficients_[1])

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        if self.coefficients_ is None or source is None:
            return np.broadcast_to(self.mean_, x.shape)
        centred = simple_fill(source, self.source_mean_)
        scores = np.zeros((len(x), self.loadings_.shape[1]))
        scores[:, self.view_ == 0] = centred @ self.coefficients_[0]
        if self.kernel:
            scores[:, self.view_ == 1] = _gaussian(centred, self.source_, self.width_) @ self.dual_ + self.offset_
        found = self.mean_ + scores @ self.loadings_.T
        found[np.isnan(source).all(axis=1)] = np.nan
        return np.asarray(found)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0))


def _median_distance(x: np.ndarray) -> float:
    """Median squared distance of (at most 500) training rows."""
    some = x[np.random.default_rng(0).permutation(len(x))[:500]]
    return float(np.median(_squares(some, some)[np.triu_indices(len(some), 1)])) or 1.0


def _gaussian(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    return np.asarray(np.exp(-_squares(a, b) / width))


def _root(gram: np.ndarray) -> np.ndarray:
    """A square root of a kernel matrix: rows whose inner products it holds."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-10 * values.max()
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
