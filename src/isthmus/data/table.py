"""One modality as an array, aligned by sample id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.bags import Bags, bags_of, is_bag
from isthmus.data.images import Picture, flat, is_image, picture_of

Array: TypeAlias = np.ndarray | sp.csr_matrix
"""Dense with NaN for missing, or CSR (a stored NaN is missing, an absent entry is zero); float32 or float64."""


@dataclass(frozen=True)
class Table:
    """Samples x features of one modality.

    `present` is False for a sample that has no row of this modality; its row of `x` is NaN (dense) or empty (CSR).
    `picture` says how rows are images; a table has None. `bags` holds the instances of which rows are the means.
    """

    x: Array
    features: pd.Index
    present: np.ndarray
    picture: Picture | None = None
    bags: Bags | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def take(self, rows: np.ndarray) -> Table:
        """Some rows, by position."""
        bags = None if self.bags is None else self.bags.take(rows)
        return replace(self, x=self.x[rows], present=self.present[rows], bags=bags)

    def of_present(self) -> Array:
        """The rows of samples that have this modality."""
        return self.x if self.present.all() else self.x[self.present]


def aligned(adata: ad.AnnData, ids: pd.Index) -> Table:
    """The rows of `adata` in the order of `ids`; ids that it lacks are absent rows. CSR stays CSR; images are rows."""
    rows = adata.obs_names.get_indexer(ids)
    present = rows >= 0
    picture = picture_of(adata) if is_image(adata) else None
    features = pd.Index(adata.var_names) if picture is None else picture.names()
    x = adata.X if picture is None else flat(adata)
    if sp.issparse(x):
        x = sp.csr_matrix(x)
        if x.dtype.kind != "f":
            x = x.astype(np.float32)
        if present.all():
            x = x if np.array_equal(rows, np.arange(len(ids))) and x.shape[0] == len(ids) else x[rows]
        else:
            pick = sp.csr_matrix(
                (np.ones(present.sum(), x.dtype), (np.flatnonzero(present), rows[present])),
                shape=(len(ids), x.shape[0]),
            )
            x = sp.csr_matrix(pick @ x)
    else:
        values = np.asarray(x)
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
        x = np.full((len(ids), len(features)), np.nan, values.dtype)
        x[present] = values[rows[present]]
    return Table(x, features, present, picture, bags_of(adata).take(rows) if is_bag(adata) else None)
