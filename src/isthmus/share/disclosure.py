"""k-anonymity, l-diversity, t-closeness: measured on a table, and enforced by taking samples out.

A class is all samples of one combination of quasi-identifiers; a missing value is a value of its own.

k-anonymity   size of the smallest class (Sweeney, Int. J. Uncertain. Fuzz. 10, 2002, doi:10.1142/S0218488502001648)
l-diversity   fewest distinct values of a sensitive column in a class; the form called distinct
              (Machanavajjhala et al., TKDD 1, 2007, doi:10.1145/1217299.1217302)
t-closeness   largest distance between a sensitive column within a class and in the whole table: earth mover's with the
              distance 1 between any two values, half the sum of absolute differences
              (Li, Li and Venkatasubramanian, ICDE 2007, doi:10.1109/ICDE.2007.367856)

These are the names that the measures have in the literature. None of them makes anybody anonymous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Measured", "enforced", "measured"]

MISSING = "\x00missing"


@dataclass(frozen=True)
class Measured:
    """What a table grants; `k` is None of an empty table, `l` and `t` are None without a sensitive column."""

    k: int | None
    l: int | None  # noqa: E741 - its name in the literature
    t: float | None
    n: int
    classes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measured(table: pd.DataFrame, quasi: Sequence[str], sensitive: Sequence[str] = ()) -> Measured:
    """Measure a table.

    Parameters
    ----------
    table
        A row a sample.
    quasi
        Columns that somebody may know of a person. Without any all samples are one class.
    sensitive
        Columns that nobody should learn.
    """
    codes = _classes(table, quasi)
    if not len(table):
        return Measured(None, None, None, 0, 0)
    sizes = np.bincount(codes)
    tables = [_counts(codes, table[s]) for s in sensitive]
    fewest = min((int((c > 0).sum(axis=1).min()) for c in tables), default=None)
    farthest = max((float(_distances(c).max()) for c in tables), default=None)
    return Measured(int(sizes.min()), fewest, farthest, len(table), len(sizes))


def enforced(
    table: pd.DataFrame,
    quasi: Sequence[str],
    sensitive: Sequence[str] = (),
    *,
    k: int = 5,
    l: int = 1,  # noqa: E741 - its name in the literature
    t: float = 1.0,
) -> pd.Series:
    """Which samples may stay: classes that fall short are taken out, until none does.

    Taking a class out moves the whole table, against which t is measured: of classes that are too far, the farthest
    goes first, and all are measured again. What stays may be nothing.

    Returns
    -------
    Series
        bool, by the index of the table.
    """
    codes = _classes(table, quasi)
    counts = [_counts(codes, table[s]) for s in sensitive]
    sizes = np.bincount(codes, minlength=int(codes.max(initial=-1)) + 1)
    stays = sizes >= k
    for c in counts:
        stays &= (c > 0).sum(axis=1) >= l
    while t < 1 and counts and stays.any():
        far = np.max([np.where(stays, _distances(c, stays), 0.0) for c in counts], axis=0)
        if far.max() <= t + 1e-12:
            break
        stays[int(np.argmax(far))] = False
    return pd.Series(stays[codes] if len(codes) else np.zeros(0, dtype=bool), index=table.index)


def _classes(table: pd.DataFrame, quasi: Sequence[str]) -> np.ndarray:
    """The class of every row, numbered in the order of first appearance."""
    if not len(quasi):
        return np.zeros(len(table), dtype=np.int64)
    texts = pd.DataFrame({i: _as_text(table[q]) for i, q in enumerate(quasi)})
    return texts.groupby(list(texts.columns), sort=False).ngroup().to_numpy(dtype=np.int64)


def _as_text(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), MISSING).astype(str)


def _counts(codes: np.ndarray, column: pd.Series) -> np.ndarray:
    """Classes x values."""
    values, _ = pd.factorize(_as_text(column))
    shape = (int(codes.max(initial=-1)) + 1, int(values.max(initial=-1)) + 1)
    found = np.zeros(shape, dtype=np.int64)
    np.add.at(found, (codes, values), 1)
    return found


def _distances(counts: np.ndarray, stays: np.ndarray | None = None) -> np.ndarray:
    """Total variation between each class and all that stay together."""
    kept = counts if stays is None else counts[stays]
    whole = kept.sum(axis=0) / kept.sum()
    within = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(0.5 * np.abs(within - whole).sum(axis=1))
