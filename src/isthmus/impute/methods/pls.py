r"""Partial least squares from another modality, components chosen on a fifth of training.

By the kernel algorithm, which deflates :math:`S = X'Y` alone and gives what scikit-learn's `PLSRegression` gives (Dayal
& MacGregor, Improved PLS algorithms, Journal of Chemometrics 1997,
doi:10.1002/(SICI)1099-128X(199701)11:1<73::AID-CEM435>3.0.CO;2-#): with w the first left singular vector of S,
:math:`r = w - \sum_i (p_i'w) r_i`, :math:`t = Xr`, :math:`p = X't/t't`, :math:`q = S'r/t't` and
:math:`S \gets S - p q' t't`.

Wold, Sjöström & Eriksson, PLS-regression: a basic tool of chemometrics, Chemometrics and Intelligent Laboratory Systems
2001, doi:10.1016/S0169-7439(01)00155-1.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from isthmus.impute.imputer import Imputer, Positive
from isthmus.impute.linear import TINY, paired, simple_fill

BLOCK, ITERATIONS, TOLERANCE = 32, 100, 1e-4
LARGE = 4_000_000
"""Of cross products with more entries than this the components come in single precision."""


class PLS(Imputer):
    """Partial least squares regression from `source`.

    Parameters
    ----------
    components
        Numbers of components that are tried.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 4

    def __init__(self, components: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5, 10, 20)) -> None:
        self.components = components

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.rotations_: np.ndarray | None = None
        if (pair := paired(x, source, self.mean_)) is None:
            return
        y, _, self.source_mean_, centred = pair
        most = min(len(y) - 1, centred.shape[1])
        tried = sorted({min(c, most) for c in self.components})
        if most >= 1 and y.any():
            k = self._choice(centred, y, tried)
            self.rotations_, self.loadings_, self.offset_ = _fit(centred, y, k)

    @staticmethod
    def _choice(x: np.ndarray, y: np.ndarray, tried: list[int]) -> int:
        if len(tried) == 1 or len(x) < 10:
            return tried[0]
        order = np.random.default_rng(0).permutation(len(x))
        held, rest = np.sort(order[: len(x) // 5]), np.sort(order[len(x) // 5 :])
        tried = sorted({min(c, len(rest) - 1) for c in tried})
        rotations, loadings, offset = _fit(x[rest], y[rest], tried[-1])
        scores, truth = x[held] @ rotations, y[held] - offset
        errors = [((scores[:, :k] @ loadings[:, :k].T - truth) ** 2).mean() for k in tried]
        return tried[int(np.argmin(errors))]

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        found = np.broadcast_to(self.mean_, x.shape).copy()
        if self.rotations_ is not None and source is not None:
            found += simple_fill(source, self.source_mean_) @ self.rotations_ @ self.loadings_.T + self.offset_
            found[np.isnan(source).all(axis=1)] = np.nan
        return found


def _fit(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations R (p x k) and loadings Q (f x k) of at most k components, and the offset: y is near X R Q' + offset."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    if x.shape[1] * y.shape[1] > LARGE:
        x, y, x_mean, y_mean = (m.astype(np.float32) for m in (x, y, x_mean, y_mean))
    s = x.T @ y - len(x) * np.outer(x_mean, y_mean)
    rotations, projections, loadings = (np.zeros((len(m), k)) for m in (s, s, s.T))
    least = TINY * max(float(np.abs(s).max()), 1e-300)
    block = np.random.default_rng(0).normal(size=(s.shape[1], BLOCK)).astype(s.dtype)
    for i in range(k):
        w, block = _direction(s, block)
        r = w - rotations[:, :i] @ (projections[:, :i].T @ w)
        t = x @ r - x_mean @ r
        power = float(t @ t)
        if power <= TINY or np.abs(s.T @ r).max() <= least:
            break  # nothing is left to explain
        rotations[:, i], loadings[:, i] = r, s.T @ r / power
        projections[:, i] = (x.T @ t - x_mean * t.sum()) / power
        s -= np.outer(projections[:, i] * power, loadings[:, i])
    return rotations, loadings, y_mean - x_mean @ rotations @ loadings.T


def _direction(s: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first left singular vector, by orthogonal iteration from a block of right ones, and the last block."""
    if min(s.shape) <= BLOCK:
        return np.linalg.svd(s, full_matrices=False)[0][:, 0], block
    before = np.zeros(len(s), dtype=s.dtype)
    for _ in range(ITERATIONS):
        left, sizes, _ = np.linalg.svd(s @ block, full_matrices=False)
        w = left[:, 0] * (1 if left[:, 0] @ before >= 0 else -1)
        block = np.linalg.qr(s.T @ left)[0]
        if np.linalg.norm(w - before) <= TOLERANCE or sizes[0] == 0:
            break
        before = w
    return w, block
