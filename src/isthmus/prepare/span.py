r"""Few samples, many features: the coordinates of the samples in the span of the training samples.

With :math:`\mu` the mean of the n training samples and V (p x r, r < n) orthonormal, a basis of what they span,

.. math:: x = \mu + V c + x_\perp, \qquad c = V'(x - \mu),

and :math:`x_\perp = 0` for every training sample. A network whose first weights are A V' and whose last are V B
computes from c what it would from x, and every gradient of the squared error keeps that form: trained on r coordinates
with the squared error divided by n p it is, to rounding, the network trained at full width. For a reconstruction
:math:`\hat x = \mu + V \hat c` of any sample

.. math:: |x - \hat x|^2 = |c - \hat c|^2 + |x_\perp|^2,

so that the loss of held-out samples is that of full width, too. V comes from the eigenvectors of the n x n matrix of
inner products (p x p where p < n), in float64, and is orthonormalised once more by QR.

That gradients stay in the span of the inputs is the representer argument (Kimeldorf & Wahba 1971,
doi:10.1016/0022-247X(71)90184-3); docs/span.md has the proof for the optimisers that keep it, and the refusals.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.errors import DataError
from isthmus.prepare.step import Step, step

BLOCK = 8192
"""Features looked at together."""
SMALLEST = 1e-12
"""Directions with less than so much of the largest one's sum of squares are rounding."""


@step("span")
class Span(Step):
    """Comes last, and leaves the values as they are: the network reads and writes coordinates in the samples' span.

    Missing entries count as the mean of train, as they do for a network at full width.
    """

    class Options(Config):
        """What the step takes."""

        use: bool = True
        """`false`: the network is as wide as the features, with the same objective and optimisers, to compare."""
        smallest: Annotated[float, Field(gt=0, lt=1)] = SMALLEST
        """Directions with a smaller share of the largest one's sum of squares are left out as rounding."""

    options: Options
    invertible = True
    mean_: np.ndarray
    basis_: np.ndarray

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        self.mean_ = _means(x)
        n, p = x.shape
        if not self.options.use:
            return f"full width: {p} features"
        self.basis_ = self._basis(x)
        if not self.basis_.shape[1]:
            raise DataError("no feature varies", met=f"{n} samples", wanted="two that differ")
        return f"{self.width} coordinates of {p} features"

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        return x

    @property
    def width(self) -> int:
        """Number of coordinates; at full width, of features."""
        return int(self.basis_.shape[1]) if self.options.use else len(self.mean_)

    def coordinates(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network reads.

        Parameters
        ----------
        x
            Prepared values, n x p; NaN counts as the mean of train.

        Returns
        -------
        Coordinates, n x r, NaN for a sample of which nothing is observed, and the squared length of what lies outside
        the span, n: both float64.
        """
        if not self.options.use:
            return np.asarray(x - self.mean_, dtype=np.float64), np.zeros(len(x))
        found, whole = np.zeros((len(x), self.width)), np.zeros(len(x))
        for some in _blocks(len(self.mean_)):
            part = _centred(x[:, some], self.mean_[some])
            found += part @ self.basis_[some]
            whole += (part**2).sum(axis=1)
        outside = np.maximum(whole - (found**2).sum(axis=1), 0.0)
        found[np.isnan(x).all(axis=1)] = np.nan
        return found, outside

    def features(self, c: np.ndarray) -> np.ndarray:
        """Coordinates, n x r, back to prepared values, n x p: mu + V c."""
        return np.asarray(self.directions(c) + self.mean_)

    def directions(self, a: np.ndarray) -> np.ndarray:
        """Weights or gradients over the coordinates, k x r, as those over the features, k x p: A V'."""
        a = np.asarray(a, dtype=np.float64)
        return np.asarray(a @ self.basis_.T) if self.options.use else a

    def _basis(self, x: Array) -> np.ndarray:
        """Orthonormal, p x r, by falling length of the samples along it."""
        n, p = x.shape
        if p < n:
            whole = _centred(_dense(x), self.mean_)
            values, vectors = np.linalg.eigh(whole.T @ whole)
            return np.ascontiguousarray(vectors[:, self._kept(values)])
        gram = np.zeros((n, n))
        for some in _blocks(p):
            part = _centred(_dense(x[:, some]), self.mean_[some])
            gram += part @ part.T
        values, vectors = np.linalg.eigh(gram)
        kept = self._kept(values)
        made = np.empty((p, len(kept)))
        for some in _blocks(p):
            made[some] = _centred(_dense(x[:, some]), self.mean_[some]).T @ (vectors[:, kept] / np.sqrt(values[kept]))
        return np.ascontiguousarray(np.linalg.qr(made)[0])

    def _kept(self, values: np.ndarray) -> np.ndarray:
        """Positions of the eigenvalues that are no rounding, largest first."""
        order = np.argsort(values)[::-1]
        kept: np.ndarray = order[values[order] > max(values[order[0]] * self.options.smallest, 0.0)]
        return kept


def _blocks(p: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, p, BLOCK)]


def _dense(x: Array) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else np.asarray(x.toarray())


def _centred(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """About the mean, in float64, 0 where missing."""
    return np.asarray(np.nan_to_num(x.astype(np.float64) - mean, copy=False))


def _means(x: Array) -> np.ndarray:
    """Of what is observed, in float64; 0 where nothing is."""
    parts = []
    for some in _blocks(x.shape[1]):
        part = _dense(x[:, some]).astype(np.float64)
        known = ~np.isnan(part)
        parts.append(np.where(known, part, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    return np.concatenate(parts)
