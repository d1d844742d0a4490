"""Pairs of features grouped by the samples that show both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from isthmus.errors import DataError

__all__ = ["FEWEST", "Group", "groups"]

MOST_GROUPS = 4096
FEWEST = 4
"""Samples that show a pair which is tested."""


@dataclass(frozen=True)
class Group:
    """Features of both sides and the samples that all of them show, by position."""

    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


def groups(a: np.ndarray, b: np.ndarray) -> Iterator[Group]:
    """Every pair of a column of `a` and one of `b` (samples x features, NaN missing) in exactly one group.

    Pairs that fewer than four samples show are left out.

    Raises
    ------
    DataError
        The features miss values in too many different ways.
    """
    sides = [_patterns(v) for v in (a, b)]
    many = len(sides[0]) * len(sides[1])
    if many > MOST_GROUPS:
        raise DataError(
            "features miss values in too many different ways",
            met=f"{len(sides[0])} x {len(sides[1])} patterns, {int(np.isnan(a).sum() + np.isnan(b).sum())} entries",
            wanted=f"at most {MOST_GROUPS} combinations",
            hint="impute first (isthmus impute), or drop features with gaps",
        )  # fmt: skip
    for seen_x, x in sides[0]:
        for seen_y, y in sides[1]:
            rows = np.flatnonzero(seen_x & seen_y)
            if len(rows) >= FEWEST:
                yield Group(x, y, rows)


def _patterns(values: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The samples that are observed, and the columns of which this holds."""
    seen = ~np.isnan(values)
    if seen.all():
        return [(np.ones(len(values), dtype=bool), np.arange(values.shape[1]))]
    found, inverse = np.unique(seen, axis=1, return_inverse=True)
    columns = np.argsort(inverse.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(inverse.ravel()))[:-1]
    return [(found[:, k], of) for k, of in enumerate(np.split(columns, ends))]
