"""What is taken out of correlations: groups and covariates of the samples, and how samples may then be permuted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

from isthmus.associate.ranks import design_matrix, orthonormal

__all__ = ["Design", "arrangements", "design_of", "order_within", "orders_within"]

FEWEST_ARRANGEMENTS = 10_000


@dataclass(frozen=True)
class Design:
    """A design over n samples.

    Attributes
    ----------
    basis
        Orthonormal columns, n x g, the constant among what they span.
    cells
        Joint level of every sample, where the design holds groups alone; None with a covariate.
    """

    basis: np.ndarray
    cells: np.ndarray | None

    def of(self, rows: np.ndarray) -> Design:
        """The design over some samples, which may lack a level of it."""
        return Design(orthonormal(self.basis[rows]), None if self.cells is None else self.cells[rows])

    @property
    def within(self) -> np.ndarray | None:
        """Cells within which samples may be permuted; None where that leaves too few arrangements for a null."""
        return self.cells if self.cells is not None and arrangements(self.cells) >= FEWEST_ARRANGEMENTS else None


def design_of(design: pd.Series | pd.DataFrame, ids: pd.Index) -> Design:
    """The design of the samples `ids`; raises as `design_matrix` does."""
    basis = design_matrix(design, ids)
    frame = (design.to_frame() if isinstance(design, pd.Series) else design).loc[ids]
    numbers = [pd.api.types.is_numeric_dtype(t) and not pd.api.types.is_bool_dtype(t) for t in frame.dtypes]
    if any(numbers):
        return Design(basis, None)
    joint = frame.astype(str).agg("\x1f".join, axis=1)
    return Design(basis, np.asarray(pd.factorize(joint)[0]))


def arrangements(cells: np.ndarray) -> float:
    """In how many ways samples can be permuted within cells; e^700 where there are more."""
    return float(np.exp(min(gammaln(np.bincount(cells) + 1.0).sum(), 700.0)))


def order_within(n: int, cells: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A random order of n samples, within cells where these are given."""
    return np.asarray(orders_within(1, n, cells, rng)[0])


def orders_within(times: int, n: int, cells: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Random orders of n samples, times x n, within cells (codes from 0 on) where these are given."""
    if cells is None:
        return np.argsort(rng.random((times, n)), axis=1)
    orders = np.empty((times, n), dtype=np.int64)
    orders[:, np.argsort(cells, kind="stable")] = np.argsort(cells + rng.random((times, n)), axis=1)
    return orders
