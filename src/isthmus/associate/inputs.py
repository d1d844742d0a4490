"""Two tables over the samples that both have, and blocks of these samples."""

from __future__ import annotations

import logging
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.table import aligned
from isthmus.errors import DataError

__all__ = ["FEWEST", "Data", "blocks_of", "joined", "numbers"]

log = logging.getLogger("isthmus.associate")
Data: TypeAlias = pd.DataFrame | ad.AnnData
FEWEST = 4


def joined(x: Data, y: Data) -> tuple[pd.DataFrame, pd.DataFrame, pd.Index]:
    """Both tables for the samples they share, in the order of the ids."""
    frames = [_frame(v, name) for v, name in ((x, "x"), (y, "y"))]
    ids = frames[0].index.intersection(frames[1].index).sort_values()
    if len(ids) < FEWEST:
        raise DataError(
            "too few samples in common", met=len(ids), wanted=f"at least {FEWEST}",
            hint=f"ids such as {list(frames[0].index[:2])} and {list(frames[1].index[:2])}",
        )  # fmt: skip
    if len(ids) < max(map(len, frames)):
        log.info("%d samples are in both tables (%d and %d)", len(ids), *map(len, frames))
    return frames[0].loc[ids], frames[1].loc[ids], ids


def numbers(frame: pd.DataFrame) -> np.ndarray:
    """The values, float32 where they are float32 and float64 otherwise; NaN is missing."""
    single = frame.shape[1] and set(map(str, frame.dtypes)) == {"float32"}
    values = frame.to_numpy() if single else frame.to_numpy(np.float64, na_value=np.nan)
    if (wrong := np.isinf(values)).any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            "holds an infinite value", where=f"feature {str(frame.columns[column])!r}",
            met=f"sample {frame.index[row]}", wanted="numbers, or NaN for missing",
        )  # fmt: skip
    return values


def _frame(data: Data, name: str) -> pd.DataFrame:
    if isinstance(data, ad.AnnData):
        table = aligned(data, data.obs_names)
        values = table.x if isinstance(table.x, np.ndarray) else table.x.toarray()
        data = pd.DataFrame(values, data.obs_names, table.features)
    if not isinstance(data, pd.DataFrame):
        raise DataError("has no sample ids", where=name, met=type(data).__name__, wanted="a DataFrame or an AnnData")
    for what, index in (("sample ids", data.index), ("features", data.columns)):
        if index.has_duplicates:
            raise DataError(f"has {what} twice", where=name, met=str(index[index.duplicated()][0]))
    wrong = [c for c, t in data.dtypes.items() if not pd.api.types.is_numeric_dtype(t)]
    if wrong:
        raise DataError("does not hold numbers", where=f"{name}, feature {wrong[0]!r}", met=str(data[wrong[0]].dtype))
    return data


def blocks_of(blocks: pd.Series, ids: pd.Index) -> np.ndarray:
    """The block of every sample, as a code."""
    if not isinstance(blocks, pd.Series):
        raise DataError("has no sample ids", where="blocks", met=type(blocks).__name__, wanted="a Series")
    if missing := len(ids) - int(ids.isin(blocks.dropna().index).sum()):
        raise DataError(f"lacks {missing} of the samples", where="blocks", wanted=f"a group for each of {len(ids)}")
    codes, levels = pd.factorize(blocks.loc[ids])
    if len(levels) == len(ids):
        raise DataError(
            "no two samples share one, so that nothing can be permuted", where="blocks", met=f"{len(ids)} samples",
            wanted="groups, such as the patients of repeated samples",
        )  # fmt: skip
    return np.asarray(codes)
