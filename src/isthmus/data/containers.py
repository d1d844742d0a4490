"""h5ad, h5mu and zarr to AnnData and MuData whose tables are float32 (dense, or CSR that stays CSR)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.bags import BAG
from isthmus.data.bombs import check_hdf5, damage
from isthmus.data.cohort import quiet
from isthmus.data.compress import start_of
from isthmus.data.images import IMAGE, checked, is_image
from isthmus.data.numbers import narrowed, of_frame
from isthmus.data.source import Source
from isthmus.data.tables import cleaned, labels
from isthmus.errors import DataError, MissingExtraError, closest, listed

log = logging.getLogger("isthmus.data")
CONTAINERS = (".h5ad", ".h5mu", ".zarr", ".h5", ".hdf5")


def read_container(path: Path) -> ad.AnnData | md.MuData:
    """AnnData or MuData as the file holds it.

    Raises
    ------
    DataError
        The file is something else, or damaged.
    """
    where = str(path)
    if path.suffix.lower() == ".zarr":
        return _read_zarr(path)
    if path.is_dir():
        raise DataError("is a folder", where=where, wanted="a file, or a folder called .zarr")
    head = start_of(path, 64)
    if not h5py.is_hdf5(path):
        page = head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml"))
        what = "is a web page" if page else "is empty" if not head else "is no HDF5 file"
        raise DataError(f"{what}, not {path.suffix[1:]}", where=where, hint="download the file again" if page else "")
    with damage(path, path.suffix[1:]):
        check_hdf5(path)
        return md.read_h5mu(path) if path.suffix.lower() == ".h5mu" else ad.read_h5ad(path)


def _read_zarr(path: Path) -> ad.AnnData | md.MuData:
    if not path.is_dir() or not any((path / name).exists() for name in (".zgroup", ".zattrs", "zarr.json")):
        raise DataError("is no zarr folder", where=str(path))
    try:
        import zarr  # noqa: F401 - an extra
    except ImportError:
        raise MissingExtraError("zarr", "zarr", "reading zarr") from None
    with damage(path, "zarr"):
        return md.read_zarr(path) if (path / "mod").is_dir() else ad.read_zarr(path)


def modality_of(mdata: md.MuData, name: str | None, where: str) -> ad.AnnData:
    """One modality, by name or because it is the only one."""
    if name is None and len(mdata.mod) > 1:
        hint = f"add modality: to choose of {listed(mdata.mod, 6)}"
        raise DataError("holds several modalities", where=where, met=list(mdata.mod), hint=hint)
    name = next(iter(mdata.mod)) if name is None else name
    if name not in mdata.mod:
        raise _unknown("modality", name, list(mdata.mod), where)
    return mdata.mod[name]


def _unknown(what: str, name: str, known: list[str], where: str) -> DataError:
    hint = closest(name, known)
    return DataError(f"there is no such {what}", where=where, met=name, hint=hint)


def selected(adata: ad.AnnData, source: Source, where: str) -> ad.AnnData:
    """The AnnData whose X is the layer or obsm matrix that `source` asks for."""
    if source.layer is not None:
        if source.layer not in adata.layers:
            raise _unknown("layer", source.layer, list(adata.layers), where)
        return ad.AnnData(adata.layers[source.layer], obs=adata.obs, var=adata.var, obsm=dict(adata.obsm))
    if source.obsm is None:
        return adata
    if source.obsm not in adata.obsm:
        raise _unknown("matrix in obsm", source.obsm, list(adata.obsm), where)
    x = adata.obsm[source.obsm]
    names = _names(adata, x, source, where) if x.ndim == 2 else []
    x = x.to_numpy() if isinstance(x, pd.DataFrame) else x
    if x.ndim in (3, 4):
        return ad.AnnData(obs=adata.obs, obsm={IMAGE: x})
    if x.ndim != 2:
        raise DataError("is no table", where=f"{where}, obsm[{source.obsm!r}]", met=f"shape {x.shape}")
    return ad.AnnData(x, obs=adata.obs, var=pd.DataFrame(index=pd.Index(names, dtype=object)))


def _names(adata: ad.AnnData, x: Any, source: Source, where: str) -> list[str]:
    """Feature names of a matrix in obsm."""
    if source.names is None:
        if isinstance(x, pd.DataFrame):
            return labels(x.columns)
        log.warning("%s: obsm[%r] has no feature names; give the key in uns by names", where, source.obsm)
        return [f"{source.obsm}_{i}" for i in range(x.shape[1])]
    if source.names not in adata.uns:
        raise _unknown("key in uns", source.names, list(adata.uns), where)
    names = labels(pd.Index(np.asarray(adata.uns[source.names]).ravel()))
    if len(names) != x.shape[1]:
        what = f"names {len(names)} features of obsm[{source.obsm!r}], which has {x.shape[1]}"
        raise DataError(f"uns[{source.names!r}] {what}", where=where)
    return names


def is_table(adata: ad.AnnData) -> bool:
    """Whether a modality is a table, rather than images or bags."""
    return not is_image(adata) and (adata.n_vars > 0 or BAG not in adata.obs)


def clean(adata: ad.AnnData, where: str) -> ad.AnnData:
    """The AnnData with ids as text and an X of finite float32 numbers, or images; what is neither is carried through.

    Raises
    ------
    DataError
        X is missing or holds something else, or a name occurs twice.
    """
    pictures = {IMAGE: checked(adata.obsm, where)} if is_image(adata) else {}
    x = _values(adata, where) if is_table(adata) else None
    with quiet():
        adata = ad.AnnData(
            X=x,
            obs=adata.obs.copy(),
            var=adata.var.copy(),
            uns=dict(adata.uns),
            obsm=dict(adata.obsm) | pictures,
            varm=dict(adata.varm),
            layers=dict(adata.layers),
            obsp=dict(adata.obsp),
            varp=dict(adata.varp),
        )
    adata.obs_names = cleaned(labels(adata.obs_names), where, "sample")
    adata.var_names = cleaned(labels(adata.var_names), where, "feature")
    refuse_twice(adata.obs_names, where, "sample")
    refuse_twice(adata.var_names, where, "feature")
    return adata


def refuse_twice(names: pd.Index, where: str, what: str) -> None:
    """Refuse ids of samples or names of features that occur more than once."""
    if names.is_unique:
        return
    again = names[names.duplicated()]
    hint = "duplicates: first keeps the first row of each" if what == "sample" else "rename or drop the others"
    raise DataError(
        f"{len(again)} {what} {'id is' if len(again) == 1 else 'ids are'} not unique",
        where=where,
        met=again[0],
        hint=hint,
    )


def _values(adata: ad.AnnData, where: str) -> np.ndarray | sp.csr_matrix:
    if adata.X is None:
        others = [*(f"layer: {k}" for k in adata.layers), *(f"obsm: {k}" for k in adata.obsm)]
        raise DataError("has no X", where=where, hint=f"it has {listed(others, 4)}" if others else "")
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise DataError("has no samples" if adata.n_obs == 0 else "has no features", where=where)

    def place(i: int, j: int) -> str:
        return f"{where}, sample {adata.obs_names[i]!r}, feature {adata.var_names[j]!r}"

    x: Any = adata.X
    if sp.issparse(x):
        return narrowed(sp.csr_matrix(x), place)
    values = np.asarray(x)
    return narrowed(values, place) if values.dtype.kind in "fiub" else of_frame(pd.DataFrame(values), place)
