"""A cohort as MuData: built, narrowed to some samples, described. Every other file builds MuData through here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd

__all__ = ["build", "combinations", "present", "quiet", "take_samples"]

log = logging.getLogger("isthmus.data")


@contextmanager
def quiet() -> Iterator[None]:
    """Without mudata's and anndata's warnings on features that two modalities share and on views made actual."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        warnings.filterwarnings("ignore", message="Cannot join columns with the same name")
        warnings.filterwarnings("ignore", category=ad.ImplicitModificationWarning)
        yield


def build(
    modalities: Mapping[str, ad.AnnData], obs: pd.DataFrame | None = None, *, uns: Mapping[str, Any] | None = None
) -> md.MuData:
    """MuData of modalities whose samples overlap.

    Parameters
    ----------
    modalities
        Name -> AnnData with unique sample ids.
    obs
        Annotations; its index gives the order of the samples and must be the union of the modalities' ids. By
        default there are no annotations and samples stand in order of first appearance.
    uns
        Whatever else belongs to the cohort.

    Returns
    -------
    mudata.MuData
        The columns of `obs` stand unprefixed and with their own types in `mdata.obs`.
    """
    ids = union(modalities) if obs is None else obs.index
    obs = pd.DataFrame(index=ids) if obs is None else obs
    obs = obs.set_axis(pd.Index(ids.astype(str), dtype=object))
    with quiet():
        mdata = md.MuData(dict(modalities), obs=pd.DataFrame(index=obs.index))
        mdata.obs = obs.loc[mdata.obs_names]
    mdata.uns.update(uns or {})
    return mdata


def union(modalities: Mapping[str, ad.AnnData]) -> pd.Index:
    """Sample ids of all modalities in order of first appearance."""
    every = [np.asarray(a.obs_names, dtype=object) for a in modalities.values()]
    return pd.Index(pd.unique(np.concatenate(every)) if every else [], dtype=object)


def take_samples(mdata: md.MuData, ids: Any) -> md.MuData:
    """A copy that holds the samples `ids`, in that order, with the types of `obs` and `uns` kept."""
    ids = pd.Index(np.asarray(ids, dtype=object), dtype=object)
    obs = mdata.obs.loc[ids].rename_axis(index=None)
    with quiet(), _unnamed(mdata):
        part = mdata[ids.to_numpy()].copy()
        part.obs = obs
    part.uns.update(mdata.uns)
    return part


@contextmanager
def _unnamed(mdata: md.MuData) -> Iterator[None]:
    """With nameless indices of samples: mudata cannot copy a cohort of which some have a name and others none."""
    frames = [mdata.obs, *(a.obs for a in mdata.mod.values())]
    names = [f.index.name for f in frames]
    try:
        for f in frames:
            f.index.name = None
        yield
    finally:
        for f, name in zip(frames, names, strict=True):
            f.index.name = name


def present(mdata: md.MuData) -> pd.DataFrame:
    """Which sample has which modality: a boolean column per modality, index = sample ids."""
    return pd.DataFrame({m: np.asarray(mdata.obsmap[m]).ravel() > 0 for m in mdata.mod}, index=mdata.obs_names)


def combinations(mdata: md.MuData) -> pd.DataFrame:
    """How many samples have which combination of modalities.

    Returns
    -------
    pandas.DataFrame
        One row per combination that occurs, most frequent first: a boolean column per modality, and `samples`.
    """
    there = present(mdata)
    names = list(there.columns)
    counts = there.groupby(names, sort=False).size().reset_index(name="samples")
    order = ["samples", *names]
    return counts.sort_values(order, ascending=False, kind="stable").reset_index(drop=True)
