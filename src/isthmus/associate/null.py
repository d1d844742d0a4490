r"""From a correlation to its p-value: two-sided, by one of four nulls.

`exact`        the permutation distribution of Spearman's rho without ties, from a table for n = 2..21 (all n! orders,
               counted by dynamic programming over subsets of ranks). Beyond, what the tables of n = 12..21 say of
               the logarithm of exact over Student's t is carried on: it is an even polynomial in r whose coefficients
               go as n, 1 and 1/n (`tail_ratio`). Fitted on n = 12..18 that gives n = 21 to 1 % for |r| <= .95, where
               the Edgeworth series of Best & Roberts (AS 89, Applied Statistics 1975, doi:10.2307/2347111) is at 58 %
               of the truth for |r| = .8 and at 0 for .85.
`permutation`  the pooled |r| of sample permutations, for ties and designs.
`t`            :math:`r \sqrt{df / (1 - r^2)}` against Student's t with n - 2 - (columns of the design - 1) degrees of
               freedom. Right for Pearson's r of normal values; for ranks it is too small in the tail (at n = 21 chance
               calls 31 % more than it says at p <= .001, and twice as many at 1e-5), and the log says so.

`benchmarks/spearman_tails.py` prints these numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from scipy import stats

__all__ = ["LARGEST_TABLE", "Null", "exact_counts", "exact_p", "from_sample", "t_null", "tail_ratio"]

LARGEST_TABLE = 21
FITTED_FROM, FITTED_TO, DEGREE = 12, 0.97, 9
ROUNDING = 1e-9


@dataclass(frozen=True)
class Null:
    """A two-sided p-value for every |r|, falling in |r|.

    Attributes
    ----------
    name
        `exact`, `permutation` or `t`.
    p
        Function of an array of |r|.
    """

    name: str
    p: Callable[[np.ndarray], np.ndarray]


@cache
def _tables() -> dict[str, np.ndarray]:
    content = files("isthmus.associate").joinpath("spearman_null.npz").read_bytes()
    with np.load(BytesIO(content), allow_pickle=False) as found:
        return {k: found[k] for k in found.files}


def exact_counts(n: int) -> np.ndarray:
    """How many of the n! orders give a sum of squared rank differences of 2k, for k = 0 .. n (n^2 - 1) / 6."""
    return np.asarray(_tables()[str(n)])


def exact_p(n: int) -> Null:
    """The null of Spearman's rho without ties for n samples."""
    if n > LARGEST_TABLE:
        half = 6.0 / (n * (n * n - 1.0))  # of the step between two values of rho
        student = t_null(n - 2)

        def beyond(r: np.ndarray) -> np.ndarray:
            size = np.maximum(np.abs(r) - half, 0.0)
            return np.asarray(np.minimum(student.p(size) * tail_ratio(size, n), 1.0))

        return Null("exact", beyond)
    counts = exact_counts(n)
    top = len(counts) - 1
    tail = np.cumsum(counts) / counts.sum()

    def p(r: np.ndarray) -> np.ndarray:
        k = np.floor(top * (1 - np.abs(r)) / 2 + ROUNDING * top).astype(int)
        return np.asarray(np.minimum(2 * tail[np.clip(k, 0, top)], 1.0))

    return Null("exact", p)


def tail_ratio(r: np.ndarray, n: int) -> np.ndarray:
    """Exact over Student's two-sided p-value of Spearman's rho, for n beyond the tables."""
    return np.asarray(np.exp(_basis(np.minimum(np.abs(r), FITTED_TO), n) @ _ratio()))


def _basis(r: np.ndarray, n: int) -> np.ndarray:
    """r^2k times n, 1 and 1/n; r^2 n is left out, since for large n the central part is Student's."""
    powers = [r ** (2 * k) for k in range(1, DEGREE + 1)]
    return np.stack([*(u * n for u in powers[1:]), *powers, *(u / n for u in powers)], axis=-1)


@cache
def _ratio() -> np.ndarray:
    """Coefficients of the logarithm of the ratio, by least squares on the tables of n = 12..21."""
    rows, values = [], []
    for n in range(FITTED_FROM, LARGEST_TABLE + 1):
        counts = exact_counts(n)
        top, tail = len(counts) - 1, np.cumsum(counts) / counts.sum()
        k = np.arange(1, top // 2)
        r = 1 - (2 * k + 1) / top
        near = r < FITTED_TO
        rows.append(_basis(r[near], n))
        values.append(np.log(2 * tail[k] / t_null(n - 2).p(r))[near])
    return np.asarray(np.linalg.lstsq(np.vstack(rows), np.hstack(values), rcond=None)[0])


def t_null(df: int) -> Null:
    """Student's t with `df` degrees of freedom."""

    def p(r: np.ndarray) -> np.ndarray:
        size = np.minimum(np.abs(r), 1 - 1e-15)
        return np.asarray(2 * stats.t.sf(size * np.sqrt(df / (1 - size**2)), df))

    return Null("t", p)


def from_sample(counts: np.ndarray) -> Null:
    """The pooled null of permutations, `counts` of |r| in equal bins of 0..1; a p-value is (1 + k) / (1 + N)."""
    at_least = np.cumsum(counts[::-1])[::-1]
    total = counts.sum()

    def p(r: np.ndarray) -> np.ndarray:
        b = np.minimum((np.abs(r) * len(counts)).astype(int), len(counts) - 1)
        return np.asarray((1.0 + at_least[b]) / (1.0 + total))

    return Null("permutation", p)
