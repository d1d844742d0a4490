r"""Half-widths of split-conformal intervals from the errors of held-out samples.

The half-width of a feature is the :math:`\lceil (n + 1) l \rceil`-th smallest of its n absolute errors, for the level
l (Lei et al., Distribution-free predictive inference for regression, JASA 2018, arXiv:1604.04173). A feature with fewer
errors than that rank asks for takes the rank of all features together.
"""

from __future__ import annotations

import numpy as np

__all__ = ["half_widths"]


def half_widths(errors: np.ndarray, level: float = 0.9) -> np.ndarray:
    """Half-widths per feature.

    Parameters
    ----------
    errors
        n x f, NaN where there is none.
    level
        Share of values that the intervals are to hold.

    Returns
    -------
    np.ndarray
        f, in the units of the errors; NaN where there are too few errors of all features together.
    """
    size = np.abs(errors)
    each = _ranks(size, level)
    return np.where(np.isnan(each), _ranks(size.reshape(-1, 1), level), each) if np.isnan(each).any() else each


def _ranks(size: np.ndarray, level: float) -> np.ndarray:
    """The conformal rank of every column; NaN where it has fewer values."""
    n = (~np.isnan(size)).sum(axis=0)
    rank = np.ceil((n + 1) * level).astype(int)
    known = (rank > 0) & (rank <= n)
    if not known.any():
        return np.full(size.shape[1], np.nan, dtype=size.dtype)
    found = np.take_along_axis(np.sort(size, axis=0), np.where(known, rank - 1, 0)[None], axis=0)[0]
    return np.where(known, found, np.nan).astype(size.dtype)
