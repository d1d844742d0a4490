"""Image files to a modality: a folder of PNG, JPEG or TIFF named by sample id, or an array with its ids."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from PIL import Image

from isthmus.data.bombs import check_zip, damage
from isthmus.data.cohort import quiet
from isthmus.data.images import IMAGE, size
from isthmus.data.source import Source, existing
from isthmus.errors import DataError, RecipeError, closest, listed

__all__ = ["ARRAYS", "PICTURES", "holds_pictures", "read_array", "read_folder"]

log = logging.getLogger("isthmus.data")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
ARRAYS = (".npz", ".npy")
AS_THEY_ARE = ("L", "RGB", "I;16", "I", "F")
PLAIN = {"1": "L", "LA": "L", "La": "L", "I;16B": "I;16", "I;16L": "I;16"}
"""Pillow's modes, and what others become: grey without alpha; anything else RGB."""


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))


def holds_pictures(folder: Path) -> bool:
    """Whether there are image files in a folder."""
    return bool(_pictures(folder))


def read_folder(folder: Path) -> ad.AnnData:
    """Every image file of a folder, its name without suffix being the sample id.

    Raises
    ------
    DataError
        A file is damaged, or another than the first in size, channels or depth.
    """
    files = _pictures(folder)
    if other := [p.name for p in folder.iterdir() if p not in files and not p.name.startswith(".")]:
        log.info("%s: left out %d files that are no images, such as %s", folder, len(other), other[0])
    with damage(files[0], "image"):
        first = _picture(files[0])
        found = np.empty((len(files), *first.shape), first.dtype)
    for i, file in enumerate(files):
        with damage(file, "image"):
            one = _picture(file)
        if one.shape != first.shape or one.dtype != first.dtype:
            raise DataError(
                f"is another kind of image than {files[0].name}", where=str(file),
                met=f"{size(one.shape)} {one.dtype}", wanted=f"{size(first.shape)} {first.dtype}",
                hint="all images of a modality have one size, as many channels and one depth",
            )  # fmt: skip
        found[i] = one
    return _with_ids(found, np.array([p.stem for p in files]), str(folder))


def _picture(path: Path) -> np.ndarray:
    """One file as H x W x C; of several pages the first, without its transparency."""
    with Image.open(path) as file:
        if (pages := int(getattr(file, "n_frames", 1))) > 1:
            log.warning("%s has %d pages: the first is taken", path, pages)
        mode = file.mode if file.mode in AS_THEY_ARE else PLAIN.get(file.mode, "RGB")
        x = np.asarray(file if mode == file.mode else file.convert(mode))
    return x[..., None] if x.ndim == 2 else x


def read_array(path: Path, source: Source) -> ad.AnnData:
    """The images of an npz or npy file; `source.array` and `source.ids` say which arrays, where it could mean several.

    Raises
    ------
    DataError
        The file is damaged, or holds no images, or no id for each.
    """
    if path.suffix.lower() == ".npy":
        with damage(path, "npy"):
            images = np.load(path, allow_pickle=False)
        return _with_ids(images, _listed_ids(path, source), str(path))
    with damage(path, "npz"):
        check_zip(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    images = _chosen(arrays, source.array, "array", path, lambda x: x.ndim in (3, 4) and x.dtype.kind in "iufb")
    ids = _chosen(arrays, source.ids, "ids", path, lambda x: x.shape == images.shape[:1] and x.dtype.kind in "USiu")
    return _with_ids(images, ids, str(path))


def _chosen(
    arrays: dict[str, np.ndarray], name: str | None, key: str, path: Path, fits: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """The array of a name, or the only one that fits."""
    if name is not None and name not in arrays:
        hint = closest(name, arrays)
        raise DataError("there is no such array", where=str(path), met=name, hint=hint)
    found = [n for n, x in arrays.items() if fits(x)] if name is None else [name]
    if len(found) != 1:
        what = "images, n x H x W x C" if key == "array" else "ids, one an image"
        shapes = listed([f"{n} {x.shape}" for n, x in arrays.items()], 4)
        raise DataError(f"holds {len(found) or 'no'} arrays of {what}", where=str(path), met=shapes,
                        hint=f"name the array by {key}: {listed(found, 4)}" if found else "")  # fmt: skip
    return arrays[found[0]]


def _listed_ids(path: Path, source: Source) -> np.ndarray:
    """The ids of an npy file, from a text file with one a line."""
    if source.ids is None:
        hint = "add ids: a text file beside it with one id a line, or save an npz with images and sample_ids"
        raise RecipeError("has no sample ids in it", where=str(path), hint=hint)
    file = existing(path.parent / source.ids)
    with damage(file, "text"):
        return np.array(file.read_text(encoding=source.encoding).split("\n")).astype(str)


def _with_ids(images: np.ndarray, ids: np.ndarray, where: str) -> ad.AnnData:
    names = [i.decode("utf-8", "replace") if isinstance(i, bytes) else str(i) for i in ids.tolist()]
    names = names[:-1] if len(names) == len(images) + 1 and not names[-1] else names
    if images.ndim not in (3, 4) or len(names) != len(images):
        met = f"{len(names)} ids, array of shape {images.shape}"
        raise DataError("holds no images with an id each", where=where, met=met, wanted="n x H x W x C and n ids")
    with quiet():
        return ad.AnnData(obs=pd.DataFrame(index=names), obsm={IMAGE: images})
