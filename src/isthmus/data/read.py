"""Files, tables and containers to one cohort, aligned by sample id."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.align import check_overlap, merged_obs, oriented
from isthmus.data.bag_files import bagged, feature_folder, read_bags, tell_unmatched
from isthmus.data.bags import BAG, bags_of, is_bag
from isthmus.data.cohort import build, combinations
from isthmus.data.compress import MAGIC
from isthmus.data.containers import CONTAINERS, clean, modality_of, read_container, selected
from isthmus.data.image_files import ARRAYS, holds_pictures, read_array, read_folder
from isthmus.data.images import is_image, picture_of, size
from isthmus.data.obs import tidy
from isthmus.data.source import Source, existing, expand, source_of
from isthmus.data.tables import EXCEL, FEATHER, PARQUET, Grid, frame_grid, indexed, obs_frame, read_grid, read_obs
from isthmus.errors import DataError, RecipeError, closest

__all__ = ["Source", "combinations", "read"]

log = logging.getLogger("isthmus.data")
TEXT = (".csv", ".tsv", ".txt", ".tab")
READABLE = (*TEXT, *PARQUET, *FEATHER, *EXCEL, *CONTAINERS, *ARRAYS)


def read(
    sources: Mapping[str, Any] | md.MuData | str | Path | Source,
    obs: str | Path | Source | Mapping[str, Any] | pd.DataFrame | None = None,
    *,
    root: Path | None = None,
    **defaults: Any,
) -> md.MuData:
    """Read a cohort.

    Parameters
    ----------
    sources
        Modality -> path, DataFrame (index = ids), AnnData, or the keys of `Source` (`{path: ..., orientation: ...}`);
        or one h5mu or zarr path, one folder of tables as `ist.write` leaves it, or MuData. Paths may be csv, tsv or
        txt (plain, .gz, .bz2, .xz, .zst), parquet, feather, xlsx, h5ad, h5mu and zarr; images also npz (an array
        and its ids) and a folder of png, jpeg or tiff files named by sample id; bags a folder of h5 or pt files.
    obs
        Annotations of the samples: a table whose first column (or `id_column`) holds sample ids.
    root
        Folder at which relative paths start; by default the current one.
    **defaults
        Keys of `Source` for every source that does not set them itself: `orientation`, `separator`, `decimal`,
        `encoding`, ...; `id_column` is that of `obs` alone.

    Returns
    -------
    mudata.MuData
        The union of all samples: first those of `obs` in its order, then by first appearance. `.obs` has the
        annotations unprefixed. Each modality is an AnnData of its own samples x features: X is float32 (float64 where
        float32 would lose a whole number), dense with NaN for missing, or CSR where it came sparse. Images are
        `obsm["image"]`, n x H x W x C, of an AnnData without variables. Of bags X is the mean of each.

    Raises
    ------
    DataError
        A file is missing, damaged, or could mean two things; a cell is no number; an id occurs twice; the modalities
        share no sample. The message names file, row and column.
    RecipeError
        An option is unknown or wrong.
    """
    source_of("-", defaults, where="read")
    if isinstance(sources, Source):
        defaults |= sources.model_dump(exclude_unset=True, exclude={"path"})
        sources = sources.path
    if isinstance(sources, str | Path):
        sources, obs = _one_path(expand(sources, root=root, where="read"), obs)
    if isinstance(sources, md.MuData):
        return _of_mudata(sources, obs, root, defaults)
    if not isinstance(sources, Mapping):
        raise DataError("names no modality", where="read", met=type(sources).__name__, wanted="modality to table")
    if not sources:
        raise RecipeError("names no modality", where="read", wanted="a path per modality")
    annotated = None if obs is None else _obs(obs, root, _applicable(obs, defaults))
    shared = {k: v for k, v in defaults.items() if k != "id_column"}
    modalities = _modalities(sources, annotated, root, shared)
    return _cohort(modalities, annotated, obs.path if isinstance(obs, Source) else _named(obs), {})


def _cohort(
    modalities: dict[str, ad.AnnData], obs: pd.DataFrame | None, where: str, uns: Mapping[str, Any]
) -> md.MuData:
    """The aligned cohort, and a line in the log for each combination of modalities."""
    check_overlap(modalities, obs)
    tell_unmatched(modalities, obs)
    keys = {m: a.obs.pop(BAG) for m, a in modalities.items() if is_bag(a)}
    table = tidy(merged_obs(modalities, obs, where if len(where) < 200 else "obs"))
    for m, adata in modalities.items():
        adata.obs = keys[m].to_frame() if m in keys else pd.DataFrame(index=adata.obs_names)
    mdata = build(modalities, table, uns=uns)
    log.info("%d samples, %s", mdata.n_obs, ", ".join(f"{m} {_shape(a)}" for m, a in mdata.mod.items()))
    if len(mdata.mod) > 1:
        for row in combinations(mdata).to_dict("records"):
            log.info("%d samples have %s", row["samples"], " + ".join(m for m in mdata.mod if row[m]))
    return mdata


def _shape(adata: ad.AnnData) -> str:
    if is_bag(adata):
        return f"{adata.n_obs} bags of {int(bags_of(adata).lengths.sum())} x {adata.n_vars}"
    return f"{adata.n_obs} images {size(picture_of(adata).shape)}" if is_image(adata) else size(adata.shape)


def _one_path(path: Path, obs: Any) -> tuple[Any, Any]:
    """An h5mu file as MuData, or a folder of tables as sources."""
    path = existing(path)
    if path.suffix.lower() in (".h5mu", ".zarr") and (found := read_container(path)) is not None:
        if isinstance(found, md.MuData):
            return _with_bags(found, path), obs
        raise DataError("holds a single AnnData", where=str(path), hint=f"name its modality: {{rna: {path.name}}}")
    if not path.is_dir():
        hint = f"name its modality: {{rna: {path.name}}}"
        raise DataError("is one table without a name of its modality", where=str(path), hint=hint)
    tables = {p.name.split(".")[0]: p for p in sorted(path.iterdir()) if _holds_modality(p)}
    if not set(tables) - {"obs"}:
        raise DataError("is a folder without a table in it (nor zarr)", where=str(path), wanted="csv or parquet files")
    given = tables.pop("obs", None)
    return tables, given if obs is None else obs


def _holds_modality(path: Path) -> bool:
    """Whether a member of a folder is a table, or itself a folder of slides' features."""
    if path.name[0] == ".":
        return False
    return _suffix(path) in READABLE or (path.is_dir() and feature_folder(path) is not None)


def _with_bags(mdata: md.MuData, path: Path) -> md.MuData:
    """The cohort of a file with the bags that its modalities name; relative files start at its folder."""
    made = {m: bagged(a, f"{path}, {m}", base=path.parent) for m, a in mdata.mod.items()}
    if all(made[m] is mdata.mod[m] for m in made):
        return mdata
    return build(made, mdata.obs, uns=mdata.uns)


def _suffix(path: Path) -> str:
    """The suffix that tells the format, below one of compression."""
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes[-1:] and suffixes[-1] in MAGIC.values()
    return next(iter(suffixes[-2:-1] if packed else suffixes[-1:]), "")


def _of_mudata(mdata: md.MuData, obs: Any, root: Path | None, defaults: Mapping[str, Any]) -> md.MuData:
    if mdata.axis != 0:
        raise DataError(
            "MuData whose modalities share features, not samples", met=f"axis {mdata.axis}", wanted="axis 0"
        )
    if not mdata.mod:
        raise DataError("MuData without a modality")
    if nested := [m for m, a in mdata.mod.items() if not isinstance(a, ad.AnnData)]:
        raise DataError("MuData within MuData", met=nested[0], wanted="AnnData as modalities")
    for name in mdata.mod:
        _check_name(name)
    modalities = {m: clean(bagged(a, m), m) for m, a in mdata.mod.items()}
    own = mdata.obs if mdata.obs.shape[1] else None
    annotated = own if obs is None else _obs(obs, root, _applicable(obs, defaults))
    if own is not None and obs is None:
        annotated = obs_frame(own, "obs")
    if annotated is None:
        annotated = obs_frame(pd.DataFrame(index=mdata.obs_names), "obs")
    return _cohort(modalities, annotated, "obs", mdata.uns)


def _applicable(given: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults that the obs table takes: how to read a file, not which way round it is."""
    return {k: v for k, v in defaults.items() if k in ("separator", "decimal", "encoding", "id_column", "duplicates")}


def _named(obs: Any) -> str:
    """What messages call the table of annotations: its path where it has one."""
    return str(obs) if isinstance(obs, str | Path) else "obs"


def _obs(given: Any, root: Path | None, defaults: Mapping[str, Any]) -> pd.DataFrame:
    """The table of annotations."""
    if isinstance(given, pd.DataFrame):
        return obs_frame(indexed(given, source_of("-", defaults, where="obs"), "obs"), "obs")
    source = source_of(given, defaults, where="obs")
    path = existing(expand(source.path, root=root, where="obs"))
    if (kind := _suffix(path)) not in (*TEXT, *PARQUET, *FEATHER, *EXCEL):
        raise DataError("is no table of annotations", where=str(path), met=kind, wanted=".csv, .tsv, .parquet or .xlsx")
    table = read_obs(path, source)
    return table[~table.index.duplicated()] if source.duplicates == "first" else table


def _modalities(
    sources: Mapping[str, Any], obs: pd.DataFrame | None, root: Path | None, defaults: Mapping[str, Any]
) -> dict[str, ad.AnnData]:
    """Every source as AnnData, samples in rows, in the order given."""
    done: dict[str, ad.AnnData] = {}
    grids: dict[str, Grid] = {}
    asked: dict[str, str | None] = {}
    for name, given in sources.items():
        found, asked[name] = _open(name, given, root, defaults)
        if isinstance(found, Grid):
            grids[name] = found
        else:
            done[name] = found
    ids = [i for i in (None if obs is None else obs.index, *(a.obs_names for a in done.values())) if i is not None]
    known = pd.Index(np.unique(np.concatenate([np.asarray(i, dtype=object) for i in ids]))) if ids else None
    done |= oriented(grids, asked, known, bags={m: a.obs_names for m, a in done.items() if is_bag(a)})
    return {name: done[name] for name in sources}


def _open(
    name: str, given: Any, root: Path | None, defaults: Mapping[str, Any]
) -> tuple[Grid | ad.AnnData, str | None]:
    """One source, and the orientation that the user asks for."""
    _check_name(name)
    if isinstance(given, pd.DataFrame | ad.AnnData):
        source = source_of("-", defaults, where=f"read.{name}")
        if isinstance(given, pd.DataFrame):
            return frame_grid(indexed(given, source, name), name, source), source.orientation
        return _container(given, source, name, base=root), None
    if not isinstance(given, str | Path | Source | Mapping):
        hint = "an array has no sample ids: pandas.DataFrame(x, index=ids, columns=features)"
        wanted = "a path, a DataFrame or AnnData"
        raise DataError("is no table", where=f"read.{name}", met=type(given).__name__, wanted=wanted, hint=hint)
    source = source_of(given, defaults, where=f"read.{name}")
    path = existing(expand(source.path, root=root, where=f"read.{name}"))
    kind = _suffix(path)
    if kind in CONTAINERS:
        found = read_container(path)
        adata = modality_of(found, source.modality, str(path)) if isinstance(found, md.MuData) else found
        return _container(adata, source, str(path), base=path.parent), None
    if kind in ARRAYS:
        return _container(read_array(path, source), source, str(path)), None
    if path.is_dir() and holds_pictures(path):
        return _container(read_folder(path), source, str(path)), None
    if path.is_dir() and feature_folder(path) is not None:
        return clean(read_bags(path, source, root=root), str(path)), None
    if path.is_dir():
        wanted = "a file, a folder of images or of slides' features (h5, pt), or a folder called .zarr"
        raise DataError("is a folder", where=str(path), wanted=wanted)
    if kind not in READABLE:
        raise DataError("has a suffix that is not read", where=str(path), met=kind, wanted=", ".join(READABLE))
    if source.bag_of is not None:
        return _bags_of_table(path, source), None
    return read_grid(path, source), source.orientation


def _bags_of_table(path: Path, source: Source) -> ad.AnnData:
    """A table's rows as instances of the samples that a column names."""
    column = str(source.bag_of)
    frame = read_obs(path, source, ids=(column,))
    if column not in frame.columns:
        raise DataError("has no such column", where=str(path), met=column, hint=closest(column, frame.columns))
    grid = frame_grid(frame.drop(columns=column), str(path), source)
    rows = ad.AnnData(grid.values, frame[[column]].set_axis(grid.rows), pd.DataFrame(index=grid.columns))
    return clean(bagged(rows, str(path), column=column), str(path))


def _check_name(name: object) -> None:
    """A modality's name becomes a file's name, a part of a key, and `name=path` on the command line."""
    if not isinstance(name, str) or not name or name[0] == "." or ".." in name or set(name) & set("/\\:=\n\r\t\0"):
        wanted = "text without / \\ : = and .., that does not begin with a dot"
        raise RecipeError("is no name for a modality", where="read", met=name, wanted=wanted)


def _container(adata: ad.AnnData, source: Source, where: str, base: Path | None = None) -> ad.AnnData:
    adata = bagged(selected(adata, source, where), where, column=source.bag_of, base=base)
    if source.orientation == "samples_in_columns" and not is_image(adata) and not is_bag(adata):
        adata = adata.T
    if source.duplicates == "first":
        adata = adata[~adata.obs_names.duplicated()]
    return clean(adata, where)
