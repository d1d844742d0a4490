r"""How an embedding uses its dimensions: coverage, total correlation, effective rank.

Coverage, after AUTOENCODIX (Joas et al. 2025): each dimension is cut from its smallest to its largest value into
:math:`b = \lfloor n^{1/d} \rfloor` bins of equal width. `coverage` is the share of bins that hold a sample, averaged
over dimensions, and `coverage_joint` the share of the :math:`b^d` cells of the grid. With two bins every dimension that
varies covers both: then only the joint form says anything, and with one bin (n < 2^d) neither does.

Total correlation (Watanabe 1960) of a normal distribution with the embedding's covariance C, in nats:

.. math:: TC = \tfrac12 \left(\sum_j \log C_{jj} - \log \det C\right)

0 where the dimensions are uncorrelated, larger the more they repeat each other. The text of Joas et al. has it the
other way round.

Effective rank (Roy & Vetterli, EUSIPCO 2007): :math:`\exp(-\sum_k p_k \log p_k)` with p_k the share of the k-th
eigenvalue of C in their sum: d where all directions vary alike, 1 where all samples lie on a line.
"""

from __future__ import annotations

import numpy as np

from isthmus.evaluate.arrays import check_table

__all__ = ["effective_rank", "latent_coverage", "total_correlation"]


def latent_coverage(z: np.ndarray) -> dict[str, float]:
    """How much of the box around an embedding is occupied.

    Parameters
    ----------
    z
        Embedding (n x d).

    Returns
    -------
    dict of str to float
        `coverage` and `coverage_joint` (see the module), each above 0 and at most 1: higher where samples are spread
        more evenly. `bins`: b, per dimension. With b below 2 both are NaN. Compare embeddings of as many samples and
        dimensions only.

    Raises
    ------
    DataError
        The embedding is not n x d, or not finite.
    """
    check_table(z, where="embedding")
    n, d = z.shape
    bins = _root(n, d) if d else 0
    if bins < 2:
        return {"coverage": float("nan"), "coverage_joint": float("nan"), "bins": float(bins)}
    low, span = z.min(axis=0), np.ptp(z, axis=0)
    place = (z - low) / np.where(span > 0, span, 1.0) * bins
    cells = np.minimum(place.astype(np.int64), bins - 1)
    each = [len(np.unique(cells[:, j])) / bins for j in range(d)]
    occupied = len(np.unique(cells, axis=0))
    return {"coverage": float(np.mean(each)), "coverage_joint": occupied / float(bins) ** d, "bins": float(bins)}


def _root(n: int, d: int) -> int:
    """The largest whole b with b^d <= n."""
    b = max(1, round(n ** (1 / d)))
    while b**d > n:
        b -= 1
    return int(b)


def total_correlation(z: np.ndarray) -> float:
    """How far the dimensions of an embedding repeat each other, as if it were normally distributed.

    Parameters
    ----------
    z
        Embedding (n x d); a dimension without variance is left out.

    Returns
    -------
    float
        In nats, 0 or more; 0 means uncorrelated (lower is more independent). With n samples about
        d (d - 1) / (4 n) comes from chance alone. Infinite where one dimension is a sum of others, as it always is
        with no more samples than dimensions; NaN where none varies.

    Raises
    ------
    DataError
        The embedding is not n x d, or not finite.
    """
    check_table(z, where="embedding")
    z = z[:, np.ptp(z, axis=0) > 0] if len(z) else z[:, :0]
    if z.shape[1] == 0:
        return float("nan")
    if len(z) <= z.shape[1]:
        return float("inf")
    r = np.corrcoef(z.astype(np.float64), rowvar=False).reshape(z.shape[1], z.shape[1])
    sign, log_determinant = np.linalg.slogdet(r)
    return max(0.0, float(-0.5 * log_determinant)) if sign > 0 else float("inf")


def effective_rank(z: np.ndarray) -> float:
    """How many directions an embedding varies in, as if all of them varied alike.

    Parameters
    ----------
    z
        Embedding (n x d).

    Returns
    -------
    float
        1 to the smaller of d and n - 1; a fall says that samples have been drawn together. NaN where nothing varies.

    Raises
    ------
    DataError
        The embedding is not n x d, or not finite.
    """
    check_table(z, where="embedding")
    if len(z) < 2:
        return float("nan")
    values = np.linalg.svd(z.astype(np.float64) - z.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    total = values.sum()
    if not total > 0:
        return float("nan")
    share = values[values > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))
