"""Rows that belong to samples (cells of a donor, spots of a section) as a modality of bags."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.bags import Part, as_adata, build_store, temporary
from isthmus.data.tables import labels
from isthmus.errors import DataError, closest

__all__ = ["bags_of_rows", "of_column"]

log = logging.getLogger("isthmus.data")


def of_column(adata: ad.AnnData, column: str, where: str) -> ad.AnnData:
    """The rows of an AnnData as instances of the samples that a column of its obs names; rows without are left out.

    Raises
    ------
    DataError
        There is no such column, or no row has a sample.
    """
    if column not in adata.obs:
        raise DataError("has no such column in obs", where=where, met=column, hint=closest(column, adata.obs.columns))
    owner = adata.obs[column].astype(object)
    known = owner.notna().to_numpy()
    if not known.any():
        raise DataError("no row has a sample", where=f"{where}, obs[{column!r}]")
    if less := int((~known).sum()):
        log.warning("%s: %d of %d rows have no %s and are left out", where, less, len(known), column)
    coords = adata.obsm.get("spatial")
    names = np.array(labels(pd.Index(owner[known])), dtype=object)
    return bags_of_rows(
        adata.X[known] if not known.all() else adata.X, names, list(adata.var_names),
        coords=None if coords is None else np.asarray(coords)[known, :2], where=where,
    )  # fmt: skip


def bags_of_rows(
    x: Any, owner: np.ndarray, features: Sequence[str], *, coords: np.ndarray | None = None, where: str = "bags"
) -> ad.AnnData:
    """Instances (N x f, dense or CSR) of the samples that `owner` names (N) as a modality of bags.

    They are kept in a temporary folder until this process ends.

    Raises
    ------
    DataError
        A value is missing or infinite.
    """
    names = pd.unique(owner)
    codes = pd.Categorical(owner, names).codes
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    parts = []
    for i, name in enumerate(names):
        rows = order[cuts[i] : cuts[i + 1]]
        load = partial(_rows, x, rows, coords)
        parts.append(Part(str(name), str(name), len(rows), load, file=f"{where}, {name}"))
    return as_adata(build_store(temporary(), parts, list(features)))


def _rows(x: Any, rows: np.ndarray, coords: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    some = x[rows]
    values = np.asarray(some.toarray() if sp.issparse(some) else some, dtype=np.float32)
    return values, None if coords is None else np.rint(coords[rows]).astype(np.int64)
