"""Tables of counts that give no small count away: primary and complementary suppression, then rounding.

A count below the smallest allowed is suppressed. That is not enough where totals are known: what is missing is what is
left of the total. So further cells are suppressed until nobody who knows every cell that is printed, every total, and
that counts are not negative can bound a suppressed small count to a range narrower than the smallest allowed
count. Bounds are those of the linear programme min, max x_i subject to A x = totals, x >= 0 (the feasibility interval;
Cox, Network models for complementary cell suppression, J. Am. Stat. Assoc. 90, 1453-1462, 1995); of the cells that
help the smallest is taken.

Zeros stay: they are known to be nobody. (With one class empty for everyone a reader learns that; see docs.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog

__all__ = ["bounds", "rounded", "suppressed"]

MOST = 400
"""Cells of a table beyond which all are suppressed rather than solved."""


def margins(shape: Sequence[int]) -> np.ndarray:
    """The totals of a table: one row an equation, over its cells in C order; every way to sum out all axes but one."""
    cells = np.arange(int(np.prod(shape))).reshape(tuple(shape))
    rows = [np.isin(cells, np.take(cells, i, axis)).ravel() for axis in range(cells.ndim) for i in range(shape[axis])]
    return np.array([np.ones(cells.size, dtype=bool), *rows], dtype=float)


def bounds(counts: np.ndarray, hidden: np.ndarray, equations: np.ndarray, cell: int) -> tuple[float, float]:
    """What a reader can bound one hidden count to.

    Parameters
    ----------
    counts, hidden
        The true counts of all cells, and which are not printed.
    equations
        A row per known total: 1 for each cell in it.
    cell
        Which.
    """
    a, b = equations[:, hidden], equations @ counts - equations[:, ~hidden] @ counts[~hidden]
    goal = (np.flatnonzero(hidden) == cell).astype(float)
    ends = [linprog(sign * goal, A_eq=a, b_eq=b, bounds=(0, None), method="highs") for sign in (1.0, -1.0)]
    low, high = (float(e.fun) if e.status == 0 else np.inf for e in ends)
    return low, -high if np.isfinite(high) else np.inf


def suppressed(counts: np.ndarray, equations: np.ndarray, smallest: int) -> np.ndarray:
    """Which cells are not printed.

    Parameters
    ----------
    counts
        Whole numbers, a cell each.
    equations
        A row per total that a reader knows: 1 for each cell in it.
    smallest
        Counts from 1 to `smallest` - 1 are suppressed.

    Returns
    -------
    ndarray
        bool a cell. Each small count can lie, for all that a reader knows, in a range at least as wide as `smallest`;
        where no choice among the counts above 0 gives that, every cell is hidden.
    """
    counts = np.asarray(counts)
    small = (counts > 0) & (counts < smallest)
    hidden = small.copy()
    if len(counts) > MOST:
        return np.full(len(counts), small.any())
    while (cell := _exposed(counts, hidden, equations, small, smallest)) is not None:
        if (more := _complement(counts, hidden, equations, cell)) is None:
            return np.ones(len(counts), dtype=bool)
        hidden[more] = True
    return hidden


def _complement(counts: np.ndarray, hidden: np.ndarray, equations: np.ndarray, cell: int) -> int | None:
    """The cell to hide next: the smallest of the total that is closest to giving a hidden cell away.

    A total with a single hidden cell gives it away whatever else is hidden; else the total of `cell` with the fewest
    hidden ones is widened. Among its cells those come first that stand in another total with a single hidden cell.
    """
    free = ~hidden & (counts > 0)
    filled = (equations[:, hidden] > 0).sum(axis=1)
    usable = (equations[:, free] > 0).any(axis=1)
    lone = np.flatnonzero((filled == 1) & usable)
    own = np.flatnonzero((equations[:, cell] > 0) & usable)
    if not len(lone) and not len(own):
        return None
    total = lone[0] if len(lone) else own[np.argmin(filled[own])]
    cells = np.flatnonzero(free & (equations[total] > 0))
    helps = (equations[filled == 1][:, cells] > 0).sum(axis=0)
    return int(cells[np.lexsort((counts[cells], -helps))[0]])


def _exposed(
    counts: np.ndarray, hidden: np.ndarray, equations: np.ndarray, small: np.ndarray, smallest: int
) -> int | None:
    """The first small count that is bounded too narrowly."""
    for cell in np.flatnonzero(small).tolist():
        low, high = bounds(counts, hidden, equations, cell)
        if high - low < smallest - 1e-6:
            return cell
    return None


def rounded(counts: np.ndarray, base: int) -> np.ndarray:
    """Counts to the nearest multiple of `base`, halves up."""
    return (np.asarray(counts) + base // 2) // base * base
