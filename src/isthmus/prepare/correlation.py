"""A step that keeps features standing for the others: k medoids on the distance 1 - |Pearson correlation|.

Correlations run over the training samples in which both features are observed; a feature that does not vary is at
distance 1 from every other. Features are taken in the order of their names, so that the order of columns is no matter.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from isthmus.config import Config, Tune
from isthmus.data.table import Array
from isthmus.prepare import kmedoids
from isthmus.prepare.step import Filter, step


@step("correlation")
class Correlation(Filter):
    """Keep k features such that every other is strongly correlated with one of them (k medoids on 1 - |r|)."""

    class Options(Config):
        """What the step takes."""

        k: Annotated[int, Field(ge=1), Tune(100, 10_000, log=True)] = 500
        """Number of features to keep; all where there are no more."""
        exact: Annotated[int, Field(ge=0)] = 3000
        """Up to so many features the whole matrix is clustered; beyond, samples of it are (CLARA)."""
        repeats: Annotated[int, Field(ge=1)] = 5
        """Samples that CLARA tries."""
        seed: int = 0
        """Seed of the clustering."""

    options: Options
    loss_: float

    def chosen(self, x: Array) -> np.ndarray:
        order = np.asarray(pd.Index(self.features_in_.astype(str)).argsort())
        p, k, rng = x.shape[1], min(self.options.k, x.shape[1]), np.random.default_rng(self.options.seed)
        block = Distance(x, order)
        if k == p:
            medoids = np.arange(p)
        elif p <= self.options.exact:
            medoids = kmedoids.fasterpam(block(np.arange(p), np.arange(p)), k, rng=rng)
        else:
            medoids = kmedoids.clara(block, p, k, rng=rng, repeats=self.options.repeats)
        return order[medoids]


class Distance:
    """1 - |r| between features of a table, a block at a time; `order` renumbers the features."""

    def __init__(self, x: Array, order: np.ndarray) -> None:
        self.x = x if isinstance(x, np.ndarray) else x.tocsc()
        self.order = order
        values = x if isinstance(x, np.ndarray) else x.data
        self.gaps = bool(np.isnan(values).any())

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The len(a) x len(b) distances, float32."""
        same = a is b or np.array_equal(a, b)
        left = self._columns(a)
        right = left if same else self._columns(b)
        r = _pairwise(left, right) if self.gaps else np.asarray(_unit(left).T @ _unit(right))
        distance = np.asarray(1.0 - np.minimum(np.abs(r), 1.0), dtype=np.float32)
        distance[a[:, None] == b[None, :]] = 0.0
        return distance

    def _columns(self, some: np.ndarray) -> np.ndarray:
        block = self.x[:, self.order[some]]
        dense = block if isinstance(block, np.ndarray) else block.toarray()
        dense = dense.astype(np.float64)
        return np.asarray(dense - _means(dense))


def _means(x: np.ndarray) -> np.ndarray:
    """Column means over observed values, 0 where there is none."""
    observed = ~np.isnan(x)
    return np.asarray(np.where(observed, x, 0.0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1))


def _unit(x: np.ndarray) -> np.ndarray:
    """Centred columns of length 1; a column that does not vary becomes 0."""
    length = np.sqrt((x**2).sum(axis=0))
    return np.asarray(x / np.where(_varies(x, length), length, np.inf))


def _varies(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Whether a centred column varies beyond the rounding of its mean."""
    return np.asarray((length > 0) & (x.max(axis=0) > x.min(axis=0)))


def _pairwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlations over the samples in which both are observed; 0 where a feature does not vary there."""
    here, there = ~np.isnan(a), ~np.isnan(b)
    one, two = here.astype(np.float64), there.astype(np.float64)
    x, y = np.where(here, a, 0.0), np.where(there, b, 0.0)
    n = np.maximum(one.T @ two, 1.0)
    sx, sy = x.T @ two, one.T @ y
    cross = x.T @ y - sx * sy / n
    vx, vy = (x**2).T @ two - sx**2 / n, one.T @ (y**2) - sy**2 / n
    scale = np.sqrt(np.maximum(vx, 0.0) * np.maximum(vy, 0.0))
    tiny = 1e-12 * np.sqrt(np.outer((x**2).sum(axis=0), (y**2).sum(axis=0)))
    return np.asarray(np.where(scale > tiny, cross / np.where(scale > tiny, scale, 1.0), 0.0))
