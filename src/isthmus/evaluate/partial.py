r"""What a latent dimension owes to a confounder beyond the label, and to the label beyond the confounder.

For a dimension z, a confounder c and a label y, the partial correlation of z with c given y comes from two regressions
by least squares, of z on y and of z on y and c:

.. math:: R^2_{zc \cdot y} = (RSS_y - RSS_{yc}) / RSS_y

For a number c its signed root is the ordinary partial correlation (of the residuals of z and c on y; Fisher 1924,
Metron 3, 329); for k classes it is the multiple partial correlation, between 0 and 1. The p-value is that of the F test
of the two regressions, which takes samples for independent: with several samples of a patient it is too small.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from isthmus.evaluate.arrays import check_rows, check_table
from isthmus.evaluate.design import Design
from isthmus.evaluate.spread import holm
from isthmus.evaluate.tasks import kind_of

__all__ = ["PARTIAL", "partial_correlation"]

PARTIAL = ["dimension", "of", "given", "correlation", "chance", "p", "p_adjusted", "n"]
RELATIVE = 1e-10
"""Sums of squares below this share of a dimension's own are rounding."""


def partial_correlation(
    z: np.ndarray, of: pd.Series, given: pd.Series | None = None, *, names: list[str] | None = None
) -> pd.DataFrame:
    """Correlation of every latent dimension with one annotation, another held fixed.

    Parameters
    ----------
    z
        Embedding (n x d).
    of
        The annotation that is correlated with (n): classes or numbers, see `probe`.
    given
        The annotation that is held fixed (n); None for none. Samples without either are left out.
    names
        Of the d dimensions; by default z0, z1, ...

    Returns
    -------
    pandas.DataFrame
        A row per dimension: `dimension`; `of`, `given` (names of the annotations); `correlation`, from -1 to 1 for a
        number and from 0 to 1 for classes, 0 is none; `chance`, the size to expect without any relation,
        sqrt(df / (n - 1 - k)) with df columns of `of` and k of `given`; `p` of the F test, `p_adjusted` after Holm
        over the dimensions; `n`, samples. NaN where the dimension does not vary within `given`, where `given`
        determines `of`, or where there are too few samples.

    Raises
    ------
    DataError
        Numbers of samples do not agree, or the embedding is not finite.
    """
    check_table(z, where="embedding")
    check_rows(len(z), len(of), where=str(of.name))
    known = of.notna().to_numpy()
    if given is not None:
        check_rows(len(z), len(given), where=str(given.name))
        known &= given.notna().to_numpy()
    y = z[known].astype(np.float64)
    one = np.ones((len(y), 1))
    c = _columns(of, known)
    rest = one if given is None else np.hstack([one, _columns(given, known)])
    size, p, df, free = _tested(y, rest, c)
    if c.shape[1] == 1 and kind_of(of[known]) == "value":
        size = size * _signs(y, rest, c)
    made = {
        "dimension": names or [f"z{k}" for k in range(z.shape[1])],
        "of": str(of.name), "given": "" if given is None else str(given.name), "correlation": size,
        "chance": np.sqrt(df / free) if df and free > df else np.nan,
        "p": p, "p_adjusted": holm(p), "n": len(y),
    }  # fmt: skip
    return pd.DataFrame(made)[PARTIAL]


def _columns(annotation: pd.Series, known: np.ndarray) -> np.ndarray:
    table = annotation[known].to_frame("x")
    return Design.of(table).columns(table)


def _tested(y: np.ndarray, rest: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Partial correlation and p per dimension, degrees of freedom of c, and n less the rank of `rest`."""
    without, rank = _residual(y, rest)
    within, full = _residual(y, np.hstack([rest, c]))
    n, df = len(y), full - rank
    total, left = (without**2).sum(axis=0), (within**2).sum(axis=0)
    own = ((y - y.mean(axis=0)) ** 2).sum(axis=0) if n else total
    size, p = np.full(y.shape[1], np.nan), np.full(y.shape[1], np.nan)
    if df == 0 or n <= full:
        return size, p, df, n - rank
    fine = total > RELATIVE * np.maximum(own, np.finfo(float).tiny)
    gain = np.clip(total - left, 0, None)[fine] / df
    size[fine] = np.sqrt(np.clip(gain * df / total[fine], 0, 1))
    with np.errstate(divide="ignore"):
        p[fine] = stats.f.sf(gain / (left[fine] / (n - full)), df, n - full)
    return size, p, df, n - rank


def _residual(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, int]:
    """What least squares leaves of y, and the rank of x."""
    slopes, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    return np.asarray(y - x @ slopes), int(rank)


def _signs(y: np.ndarray, rest: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The sign of the residuals' product."""
    return np.asarray(np.sign(_residual(c, rest)[0][:, 0] @ _residual(y, rest)[0]))
