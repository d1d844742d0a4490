"""Feature files of slides to a modality of bags: what CLAM, TRIDENT and `isthmus slides encode` write.

A folder of HDF5 files with `features` (N x D or 1 x N x D), `coords` (N x 2, level-0 pixels) and attributes, or of .pt
tensors; CLAM's `h5_files` and `pt_files`, and TRIDENT's `features_ENCODER` below its folder, are found. A slide is
called by its file's name; which sample it is of says a table (`slides`, or `samples.csv` among the files), a pattern
(`id_pattern`), a number of leading characters (`id_length`), or the name itself. Slides of one sample are one bag.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from isthmus.data.bag_rows import of_column
from isthmus.data.bag_write import SAMPLES
from isthmus.data.bags import (
    BAG,
    STORE,
    VERSION,
    Part,
    as_adata,
    build_store,
    cache_folder,
    feature_names,
    is_bag,
    temporary,
)
from isthmus.data.bombs import check_hdf5, damage
from isthmus.data.images import is_image
from isthmus.data.source import Source, existing, expand
from isthmus.data.tables import labels, read_obs
from isthmus.data.tensors import read_tensor
from isthmus.errors import DataError, RecipeError, RunError, listed

__all__ = ["SEPARATOR", "bagged", "feature_folder", "read_bags", "read_files", "tell_unmatched"]

log = logging.getLogger("isthmus.data")
HDF5, TENSOR = (".h5", ".hdf5"), (".pt",)
SEPARATOR = "|"
"""Between the files of one bag in `obs["bag"]`."""
ALIKE = ("encoder", "patch_size", "target_magnification", "mpp")
"""Attributes that the slides of a cohort have in common, those that they have."""


@dataclass(frozen=True)
class SlideFile:
    """One slide's features: how many there are, of how many numbers each, and what its file says of them."""

    path: Path
    shape: tuple[int, int]
    dtype: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def _files(folder: Path) -> dict[str, Path]:
    """Feature files by name without suffix; HDF5 where a slide has both."""
    kinds = (*TENSOR, *HDF5)
    found = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in kinds and p.name[0] != "."), key=lambda p: p.name
    )
    found.sort(key=lambda p: kinds.index(p.suffix.lower()))
    return dict(sorted((p.stem, p) for p in found))


def feature_folder(folder: Path) -> Path | None:
    """The folder that holds the feature files: itself, CLAM's `h5_files` or `pt_files`, or TRIDENT's only `features_*`.

    Raises
    ------
    DataError
        There are features of several encoders below it.
    """
    if _files(folder):
        return folder
    for name in ("h5_files", "pt_files"):
        if (folder / name).is_dir() and _files(folder / name):
            return folder / name
    inner = sorted(p for p in [*folder.glob("features_*"), *folder.glob("*/features_*")] if p.is_dir() and _files(p))
    if len(inner) > 1:
        met = listed([str(p.relative_to(folder)) for p in inner], 4)
        raise DataError(
            "holds features of several encoders or magnifications", where=str(folder), met=met, hint="name one"
        )
    return inner[0] if inner else None


def read_bags(folder: Path, source: Source, *, root: Path | None = None) -> ad.AnnData:
    """The feature files of a folder as a modality of bags, a sample per bag.

    Raises
    ------
    DataError
        A file is damaged, or of another encoder, width or magnification than the others; no slide has a sample.
    RecipeError
        The pattern is no regular expression.
    """
    inner = feature_folder(folder)
    if inner is None:
        raise DataError("holds no feature files", where=str(folder), wanted=", ".join((*HDF5, *TENSOR)))
    files = _files(inner)
    owner = _owners(files, source, root)
    if lost := [name for name in files if name not in owner]:
        log.warning(
            "%s: %d of %d slides are of no sample and are left out: %s", inner, len(lost), len(files), listed(lost)
        )
    bags: dict[str, list[Path]] = {}
    for name, path in files.items():
        if name in owner:
            bags.setdefault(owner[name], []).append(path)
    return read_files(bags, str(inner))


def _owners(files: Mapping[str, Path], source: Source, root: Path | None) -> dict[str, str]:
    """The sample of every slide that has one."""
    where, beside = source.path, next(iter(files.values())).parent / SAMPLES
    if source.slides is None and source.id_pattern is None and source.id_length is None and beside.exists():
        return _mapped(files, beside, source)
    if source.slides is not None:
        return _mapped(files, existing(expand(source.slides, root=root, where="slides")), source)
    rule = _rule(source)
    found = {name: rule(name) for name in files}
    owner = {name: sample for name, sample in found.items() if sample}
    if not owner:
        met = f"files such as {next(iter(files))}"
        raise DataError("no slide has a sample", where=where, met=met, wanted="another id_pattern or id_length")
    return owner


def _rule(source: Source) -> Callable[[str], str | None]:
    """From a slide's name to its sample."""
    if source.id_pattern is not None:
        try:
            pattern = re.compile(source.id_pattern)
        except re.error as error:
            where = "id_pattern"
            raise RecipeError(
                f"is no pattern: {error}", where=where, met=source.id_pattern, wanted="such as '^(P\\d+)_'"
            ) from None

        def matched(name: str) -> str | None:
            found = pattern.search(name)
            return None if found is None else found[1 if pattern.groups else 0]

        return matched
    return lambda name: name[: source.id_length]


def _mapped(files: Mapping[str, Path], table: Path, source: Source) -> dict[str, str]:
    """What a table says: slides in its first column, samples in the column `patient`, or its only other one."""
    given = read_obs(table, Source(path=str(table), encoding=source.encoding), ids=None)
    columns = [c for c in ("sample", "patient") if c in given.columns] or list(given.columns)
    if len(columns) != 1 and columns[0] not in ("sample", "patient"):
        met, wanted = listed(columns), "slides in the first column, and a column sample or patient"
        raise DataError("does not say which column names the samples", where=str(table), met=met, wanted=wanted)
    known = given[columns[0]].dropna()
    suffixes = re.compile(r"\.(svs|tiff?|ndpi|mrxs|dcm|scn|bif|czi|h5|hdf5|pt)$", re.IGNORECASE)
    owner = {suffixes.sub("", str(n)): sample for n, sample in zip(known.index, labels(pd.Index(known)), strict=True)}
    found = {name: owner[name] for name in files if name in owner}
    if not found:
        met = f"{listed(owner, 2)}, and files {listed(files, 2)}"
        raise DataError("names none of the slides", where=str(table), met=met)
    if without := sorted(set(owner.values()) - set(found.values())):
        log.warning("%s: %d samples have no slide here: %s", table, len(without), listed(without))
    return found


def read_files(bags: Mapping[str, Sequence[Path]], where: str) -> ad.AnnData:
    """Feature files of every sample as a modality of bags; their instances go through the cache.

    Raises
    ------
    DataError
        A file is damaged, or another kind than the first; no file holds an instance.
    """
    opened = {p: _opened(p) for paths in bags.values() for p in paths}
    _refuse_mixed(list(opened.values()))
    if empty := [p.name for p, f in opened.items() if f.shape[0] == 0]:
        log.warning("%s: %d slides have no instance and are left out: %s", where, len(empty), listed(empty))
    full = {s: [p for p in paths if opened[p].shape[0]] for s, paths in bags.items()}
    full = {s: paths for s, paths in full.items() if paths}
    if not full:
        raise DataError("no slide has an instance", where=where)
    keys = {s: SEPARATOR.join(str(p) for p in paths) for s, paths in full.items()}
    parts = [_part(keys[s], opened[p]) for s, paths in full.items() for p in paths]
    several = sum(len(paths) > 1 for paths in full.values())
    log.info("%s: %d slides of %d samples, %d of which have several", where, len(parts), len(full), several)
    names = {key: s for s, key in keys.items()}
    return as_adata(_stored(parts, [opened[p] for paths in full.values() for p in paths]), names)


def _opened(path: Path) -> SlideFile:
    """Shape and attributes of a file."""
    if path.suffix.lower() in TENSOR:
        x = read_tensor(path)
        return SlideFile(path, _shape(x.shape, path), _kept(x.dtype))
    with damage(path, "HDF5"):
        check_hdf5(path)
        with h5py.File(path, "r") as file:
            if "features" not in file:
                held = listed(list(file))
                hint = "these are coordinates alone: encode the slides first" if "coords" in file else ""
                raise DataError(
                    "holds no features", where=str(path), met=held, wanted="a dataset `features`", hint=hint
                )
            features, said = file["features"], dict(file.attrs)
            said |= dict(file["coords"].attrs) if "coords" in file else {}
            said |= dict(features.attrs)
            shape = _shape(features.shape, path)
            if "coords" in file and np.prod(file["coords"].shape[:-1]) != shape[0]:
                met = f"{np.prod(file['coords'].shape[:-1])} coordinates, {shape[0]} features"
                raise DataError("has not a coordinate for each feature", where=str(path), met=met)
            return SlideFile(path, shape, _kept(features.dtype), {k: _plain(v) for k, v in said.items()})


def _shape(shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    """N x D of what came as N x D, 1 x N x D, or nothing at all."""
    if shape == (0,):
        return 0, 0
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        hint = "slide-level features are a table: read them as one" if len(shape) == 1 else ""
        raise DataError("holds no bag of features", where=str(path), met=f"shape {shape}", wanted="N x D", hint=hint)
    return int(shape[0]), int(shape[1])


def _kept(dtype: Any) -> str:
    return "float16" if np.dtype(dtype) == np.float16 else "float32"


def _plain(value: Any) -> Any:
    """An attribute as JSON can hold it."""
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return value if isinstance(value, str | int | float | bool | list) else str(value)


def _refuse_mixed(files: Sequence[SlideFile]) -> None:
    """Features of one encoder at one magnification; told by width and attributes."""
    said: dict[str, tuple[Any, Path]] = {}
    for one in files:
        width = {"width": one.shape[1]} if one.shape[1] else {}
        for key, value in (width | {k: one.attributes[k] for k in ALIKE if k in one.attributes}).items():
            if value == "None":
                continue
            first, path = said.setdefault(key, (value, one.path))
            same = np.isclose(value, first, rtol=0.01) if isinstance(value, float) else value == first
            if not same:
                what = "features of another width" if key == "width" else f"another {key.replace('_', ' ')}"
                raise DataError(
                    f"has {what} than {path.name}", where=str(one.path), met=value, wanted=str(first),
                    hint="all slides of a cohort come from one encoder at one magnification",
                )  # fmt: skip


def _part(key: str, one: SlideFile) -> Part:
    kept = {k: v for k, v in one.attributes.items() if not isinstance(v, list)}
    said = {"attributes": kept}
    return Part(key, str(one.path.stem), one.shape[0], partial(_load, one.path), said, str(one.path))


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Features N x D, and coordinates where there are any."""
    if path.suffix.lower() in TENSOR:
        x = read_tensor(path)
        return x.reshape(x.shape[-2:]), None
    with damage(path, "HDF5"), h5py.File(path, "r") as file:
        x = file["features"][()]
        coords = file["coords"][()].reshape(-1, file["coords"].shape[-1]) if "coords" in file else None
    return x.reshape(x.shape[-2:]), None if coords is None else np.rint(coords[:, :2]).astype(np.int64)


def _stored(parts: Sequence[Part], files: Sequence[SlideFile]) -> Path:
    """The store of these files: that of an earlier reading while no file has changed, or a new one."""
    stamps = [
        (p.key, str(f.path), (s := f.path.stat()).st_size, s.st_mtime_ns) for p, f in zip(parts, files, strict=True)
    ]
    digest = hashlib.blake2b(json.dumps([VERSION, stamps]).encode(), digest_size=16).hexdigest()
    folder = cache_folder() / digest
    if (folder / "bags.json").exists():
        return folder
    width = files[0].shape[1]
    dtype = "float16" if all(f.dtype == "float16" for f in files) else "float32"
    encoders = [str(e) for f in files if (e := f.attributes.get("encoder")) not in (None, "None")]
    features = feature_names(encoders[0] if encoders else None, width)
    size = sum(p.length for p in parts) * width * np.dtype(dtype).itemsize / 1e9
    log.info(
        "%d instances of %d features go into one file of %.2f GB: %s", sum(p.length for p in parts), width, size, folder
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        log.warning("%s may not be written: set ISTHMUS_CACHE; a temporary folder is taken", folder.parent)
        folder = temporary()
    try:
        return build_store(folder, parts, features, dtype)
    except RunError as error:
        raise RunError(
            error.what, where=error.where, hint=f"{size:.1f} GB are needed: set ISTHMUS_CACHE to a larger disk"
        ) from None


def files_of(column: pd.Series, base: Path | None) -> dict[str, list[Path]]:
    """Sample -> files, from `obs["bag"]`; relative ones start at `base`."""
    known = column.dropna()
    start = base or Path()
    return {str(s): [existing(start / name) for name in str(v).split(SEPARATOR)] for s, v in known.items()}


def bagged(adata: ad.AnnData, where: str, *, column: str | None = None, base: Path | None = None) -> ad.AnnData:
    """An AnnData as a modality of bags where it says so, else as it is.

    It does by `column` of obs, or one called `bag`: of rows without features it names files (relative ones start at
    `base`), of others the sample that a row is an instance of.
    """
    if column is not None:
        return of_column(adata, column, where)
    if BAG not in adata.obs or is_image(adata):
        return adata
    if STORE in adata.uns:
        if (Path(str(adata.uns[STORE]["store"])) / "bags.json").exists():
            return adata
        adata = adata[:, :0]
    if adata.n_vars:
        return of_column(adata, BAG, where)
    if not adata.obs[BAG].notna().any():
        raise DataError("names no file of features", where=f"{where}, obs[{BAG!r}]")
    return read_files(files_of(adata.obs[BAG], base), where)


def tell_unmatched(modalities: Mapping[str, ad.AnnData], obs: pd.DataFrame | None) -> None:
    """Warn of bags of samples that nothing else knows, and of samples without a bag."""
    for m, adata in modalities.items():
        others = [o.obs_names for name, o in modalities.items() if name != m]
        others += [] if obs is None else [obs.index]
        if not is_bag(adata) or not others:
            continue
        known = pd.Index(np.unique(np.concatenate([np.asarray(o, dtype=object) for o in others])))
        if len(lost := adata.obs_names[~adata.obs_names.isin(known)]):
            log.warning(
                "%s: %d of %d samples with bags are known nowhere else: %s", m, len(lost), adata.n_obs, listed(lost)
            )
        if len(less := known[~known.isin(adata.obs_names)]):
            log.warning("%s: %d of %d samples have no bag: %s", m, len(less), len(known), listed(less))
