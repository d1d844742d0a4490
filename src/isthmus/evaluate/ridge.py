r"""Ridge regression by one decomposition, and what it predicts of samples that are left out, without a refit.

With :math:`X = U \operatorname{diag}(s) V'` of the centred source, ridge regression with penalty :math:`\lambda`
predicts :math:`U \operatorname{diag}(s^2 / (s^2 + \lambda)) U'Y`, and what it is off by at a sample that is left out is
its residual over one minus the sample's leverage, to which the mean adds 1/n (Allen's PRESS; Golub, Heath & Wahba,
Technometrics 1979, https://doi.org/10.2307/1268518).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import linalg

__all__ = ["left_out", "shrinkage", "spectrum"]

TINY = 1e-10
"""Least distance of a leverage from one."""


def spectrum(gram: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of a table, and its singular vectors, from the smaller of its Gram matrices.

    Parameters
    ----------
    gram
        XX' or X'X (n x n); its memory may be used.
    least
        Values whose square is at most this share of the largest one's are left out, as rounding.

    Returns
    -------
    tuple of np.ndarray
        r values, largest first, and the vectors n x r.
    """
    squares, vectors = linalg.eigh(gram, check_finite=False, overwrite_a=True, driver="evd")
    kept = np.flatnonzero(squares > max(least * float(squares.max(initial=0.0)), 0.0))[::-1]
    return np.sqrt(squares[kept]), vectors[:, kept]


def shrinkage(s: np.ndarray, penalty: float) -> np.ndarray:
    """How much of every direction ridge regression keeps, 0..1: s^2 / (s^2 + penalty)."""
    return np.asarray(s**2 / (s**2 + penalty))


def left_out(
    u: np.ndarray, s: np.ndarray, y: np.ndarray, penalties: Sequence[float] | np.ndarray
) -> Iterator[np.ndarray]:
    """What ridge regression is off by at every sample when it is left out.

    Parameters
    ----------
    u, s
        Left singular vectors (n x r) and singular values (r) of the centred source.
    y
        Centred targets (n x q).
    penalties
        In units of s^2.

    Yields
    ------
    np.ndarray
        n x q for each penalty, in the units of `y`.
    """
    shrinks = np.stack([shrinkage(s, p) for p in penalties]).astype(u.dtype)
    leverages, scores = (u**2) @ shrinks.T + u.dtype.type(1 / len(y)), u.T @ y
    for shrink, leverage in zip(shrinks, leverages.T, strict=True):
        rest = y - u @ (shrink[:, None] * scores)
        rest /= np.maximum(1 - leverage, TINY)[:, None]
        yield rest
