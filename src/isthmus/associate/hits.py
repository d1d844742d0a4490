"""What a test of all pairs found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.associate.null import Null
from isthmus.data.write import atomic

__all__ = ["Hits", "write_pairs"]

ROWS = 1 << 20
"""Rows that are written together."""


@dataclass(frozen=True)
class Hits:
    """The accepted pairs, and what they were chosen from.

    Attributes
    ----------
    table
        `x`, `y`, `rho`, `p`, `q`, `n` (samples that show both; with a design also `rho_marginal`), the smallest p
        first.
    n_tests, n_hits
        Pairs tested and accepted.
    threshold
        Largest accepted p-value; 0 where none is.
    minimum_detectable
        |r| that a single pair among so many needs to be accepted alone; above 1 where none could be.
    null
        Where the p-values come from.
    n_flat
        Features of either side that do not vary and were not tested.
    histogram
        Counts of |r| of all pairs in equal bins of 0..1.
    n_samples, df
        Samples in common, and degrees of freedom of the pairs that have most: n - 2, less what a design takes.
    p_histogram
        Counts of p of all pairs in 40 equal bins of 0..1.
    nulls
        Number of samples that show a pair -> where its p-value comes from.
    """

    table: pd.DataFrame
    n_tests: int
    n_hits: int
    threshold: float
    minimum_detectable: float
    null: str
    n_flat: tuple[int, int]
    histogram: np.ndarray
    n_samples: int
    df: int
    p_histogram: np.ndarray
    nulls: Mapping[int, Null]

    def to_parquet(self, path: str | Path) -> None:
        """Write the table, names as dictionaries, a million rows at a time."""
        write_pairs(self.table, path)


def write_pairs(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table with the columns `x` and `y` as parquet, these as dictionaries, a million rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes = {name: pd.factorize(table[name]) for name in ("x", "y")}
    names = {name: pa.array(found[1].astype(str), pa.string()) for name, found in codes.items()}

    def rows(start: int) -> pa.Table:
        part = table.iloc[start : start + ROWS]
        arrays = [
            pa.DictionaryArray.from_arrays(pa.array(codes[c][0][start : start + ROWS], pa.int32()), names[c])
            if c in names else pa.array(part[c])
            for c in map(str, table.columns)
        ]  # fmt: skip
        return pa.Table.from_arrays(arrays, names=list(map(str, table.columns)))

    with atomic(Path(path)) as new:
        first = rows(0)
        with pq.ParquetWriter(new, first.schema) as writer:
            writer.write_table(first)
            for start in range(ROWS, len(table), ROWS):
                writer.write_table(rows(start))
