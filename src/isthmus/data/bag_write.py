"""Bags to files as TRIDENT leaves them: an HDF5 file a slide, and `samples.csv`, which says whose it is."""

from __future__ import annotations

import re
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from isthmus.data.bags import BAG, STORE, bags_of
from isthmus.data.write import atomic

__all__ = ["SAMPLES", "named_files", "write_bags"]

SAMPLES = "samples.csv"
"""Of a folder of feature files: slides, and the column `sample`."""
SAFE = re.compile(r"[\w.-]{1,150}", re.ASCII)


def write_bags(adata: ad.AnnData, folder: Path) -> dict[str, list[str]]:
    """A feature file for every slide, in a new folder, whole or not at all; the files of every sample.

    `features` (N x D, in chunks of a row, attributes `name` and `encoder`) and, where there are any, `coords` (N x 2,
    with the attributes of the slide).
    """
    bags = bags_of(adata)
    files: dict[str, list[str]] = {}
    slides = sorted(bags.store.slides, key=lambda one: one["start"])
    starts = np.array([one["start"] for one in slides])
    with atomic(folder) as new:
        new.mkdir()
        taken: set[str] = set()
        for sample, start, stop in zip(adata.obs_names, bags.start, bags.stop, strict=True):
            files[str(sample)] = []
            for one in slides[np.searchsorted(starts, start) : np.searchsorted(starts, stop)]:
                good = SAFE.fullmatch(one["name"]) and one["name"] not in taken
                name = one["name"] if good else f"slide{len(taken):05d}"
                taken.add(name)
                _write_slide(new / f"{name}.h5", one, bags.store.x, bags.store.coords)
                files[str(sample)].append(f"{name}.h5")
        owner = [(Path(f).stem, sample) for sample, each in files.items() for f in each]
        pd.DataFrame(owner, columns=["slide", "sample"]).to_csv(new / SAMPLES, index=False)
    return files


def _write_slide(path: Path, slide: dict[str, object], x: np.ndarray, coords: np.ndarray | None) -> None:
    start, stop = slide["start"], slide["stop"]
    said = slide.get("attributes")
    attributes = dict(said) if isinstance(said, dict) else {}
    with h5py.File(path, "w") as file:
        values = np.asarray(x[start:stop])
        features = file.create_dataset("features", data=values, chunks=(1, x.shape[1]), maxshape=(None, x.shape[1]))
        features.attrs.update({k: attributes.pop(k) for k in ("name", "encoder") if k in attributes})
        if coords is not None:
            places = file.create_dataset(
                "coords", data=np.asarray(coords[start:stop]), chunks=(1, 2), maxshape=(None, 2)
            )
            places.attrs.update(attributes)


def named_files(adata: ad.AnnData, folder: Path, base: Path) -> ad.AnnData:
    """The modality as a container holds it: no values, and in `obs["bag"]` its files, written to `folder`.

    Files that the bags came from are named as they are, and not written again.
    """
    found = ad.AnnData(obs=adata.obs[[BAG]].copy())
    known = adata.obs[BAG].dropna().astype(str)
    if not all(Path(name).is_absolute() and Path(name).exists() for key in known for name in key.split("|")):
        each = write_bags(adata, folder)
        inside = folder.relative_to(base)
        found.obs[BAG] = ["|".join(str(inside / f) for f in each[str(s)]) or None for s in adata.obs_names]
    found.uns = {k: v for k, v in adata.uns.items() if k != STORE}
    return found
