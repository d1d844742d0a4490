"""Bags of instances as a modality: patches of a slide, cells of a donor, spots of a section.

In memory a modality of bags is an AnnData of samples whose X holds the mean of each bag (so that whatever reads tables
reads it), whose `obs["bag"]` holds the key of each bag, and whose `uns["bags"]["store"]` names the folder where the
instances lie: one array of all of them, one bag after the other, memory-mapped, so that a cohort may be larger than the
memory. A store is made once:

    features.npy   N x f, float16 or float32 as the features came
    coords.npy     N x 2, level-0 pixels, where there are coordinates
    means.npy      k x f, float32
    bags.json      keys, offsets (k + 1), names of the features, slides (name, first row, attributes)
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.write import atomic
from isthmus.errors import DataError

__all__ = [
    "BAG",
    "STORE",
    "Bags",
    "Part",
    "Store",
    "as_adata",
    "bags_of",
    "build_store",
    "cache_folder",
    "feature_names",
    "is_bag",
    "temporary",
]

log = logging.getLogger("isthmus.data")
BAG, STORE = "bag", "bags"
"""The column of obs with the keys, and the key in uns."""
VERSION = 1


@dataclass(frozen=True)
class Part:
    """Some instances of a bag, such as a slide: how many there are, and what reads them and their coordinates."""

    key: str
    name: str
    length: int
    load: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""


class Store:
    """The instances of a cohort on disk; see the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.x: np.ndarray = np.load(folder / "features.npy", mmap_mode="r")
            self.means: np.ndarray = np.load(folder / "means.npy")
            said = json.loads((folder / "bags.json").read_text(encoding="utf-8"))
            self.keys, self.offsets = list(said["keys"]), np.array(said["offsets"], dtype=np.int64)
            self.features: pd.Index[Any] = pd.Index(said["features"], dtype=object)
            self.slides = list(said["slides"])
        except (OSError, ValueError, KeyError) as error:
            hint = "read the cohort again from its files"
            raise DataError("the instances of its bags are not there", where=str(folder), hint=hint) from error
        self.place = {k: i for i, k in enumerate(self.keys)}

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the files, instead of being sent what stands in them."""
        return _opened, (str(self.folder),)

    @cached_property
    def coords(self) -> np.ndarray | None:
        """N x 2, where there are any."""
        path = self.folder / "coords.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None


@dataclass(frozen=True, eq=False)
class Bags:
    """The bags of some samples: rows `start` to `stop` of the store's instances; none where the sample has no bag."""

    store: Store
    start: np.ndarray
    stop: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        """Instances of every sample."""
        return np.asarray(self.stop - self.start)

    @property
    def features(self) -> pd.Index:
        """Names of the features of an instance."""
        return self.store.features

    def take(self, index: np.ndarray) -> Bags:
        """Some samples, by position; -1 is a sample without a bag."""
        here = index >= 0
        at = np.where(here, index, 0)
        return replace(self, start=np.where(here, self.start[at], 0), stop=np.where(here, self.stop[at], 0))

    def rows(
        self, index: np.ndarray, most: int | None = None, seed: Sequence[int] = (0,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which instances some samples have, as rows of the store, one sample after the other, and their offsets.

        With `most`, at most so many of each sample, drawn without replacement, in their order.
        """
        found, rng = [], np.random.default_rng(list(seed))
        for i in index:
            n = int(self.stop[i] - self.start[i])
            drawn = np.arange(n) if most is None or n <= most else np.sort(rng.choice(n, most, replace=False))
            found.append(self.start[i] + drawn)
        offsets = np.concatenate([[0], np.cumsum([len(f) for f in found])]).astype(np.int64)
        return np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int64), offsets

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Instances by their rows in the store: float32."""
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return np.asarray(self.store.x[rows[0] : rows[-1] + 1], dtype=np.float32)
        return np.asarray(self.store.x[rows], dtype=np.float32)


@lru_cache(maxsize=32)
def _opened(folder: str) -> Store:
    return Store(Path(folder))


def is_bag(adata: ad.AnnData) -> bool:
    """Whether a modality holds bags of instances, whose means are its X."""
    return STORE in adata.uns and BAG in adata.obs


def bags_of(adata: ad.AnnData) -> Bags:
    """The bags of a modality's samples.

    Raises
    ------
    DataError
        The store is gone, or does not know a bag.
    """
    store = _opened(str(adata.uns[STORE]["store"]))
    keys = adata.obs[BAG].astype(object)
    at = np.array([-1 if pd.isna(k) else store.place.get(str(k), -2) for k in keys], dtype=np.int64)
    if (at == -2).any():
        met = str(keys.iloc[int(np.argmax(at == -2))])
        raise DataError(
            "has no such bag", where=str(store.folder), met=met, hint="obs['bag'] was changed after reading"
        )
    start, stop = np.where(at >= 0, store.offsets[at], 0), np.where(at >= 0, store.offsets[at + 1], 0)
    return Bags(store, start, stop)


def as_adata(folder: Path, ids: Mapping[str, str] | None = None) -> ad.AnnData:
    """The modality of a store: a sample per bag, called as its key or as `ids` has it."""
    store = _opened(str(folder))
    names = [k if ids is None else ids[k] for k in store.keys]
    obs = pd.DataFrame({BAG: store.keys}, index=pd.Index(names, dtype=object))
    found = ad.AnnData(store.means.copy(), obs, pd.DataFrame(index=store.features.copy()))
    found.uns[STORE] = {"store": str(folder)}
    return found


def build_store(folder: Path, parts: Sequence[Part], features: Sequence[str], dtype: str = "float32") -> Path:
    """Write a store; the parts of a bag lie together, bags in the order of their first part.

    Raises
    ------
    DataError
        A part holds another number of instances than it says, or a value that is not finite.
    """
    keys = list(dict.fromkeys(p.key for p in parts))
    lengths = pd.Series([p.length for p in parts], index=[p.key for p in parts]).groupby(level=0).sum()
    offsets = np.concatenate([[0], np.cumsum([int(lengths[k]) for k in keys])])
    free = dict(zip(keys, offsets[:-1].tolist(), strict=True))
    means, slides = np.zeros((len(keys), len(features))), []
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic(folder) as new:
        new.mkdir()
        shape = (int(offsets[-1]), len(features))
        x = np.lib.format.open_memmap(new / "features.npy", "w+", np.dtype(dtype), shape)
        coords: np.ndarray | None = None
        for part in parts:
            values, where = _loaded(part, len(features))
            rows = slice(free[part.key], free[part.key] + part.length)
            free[part.key], x[rows] = rows.stop, values
            means[keys.index(part.key)] += values.sum(axis=0, dtype=np.float64)
            slides.append({"name": part.name, "start": rows.start, "stop": rows.stop, **part.attributes})
            if where is not None:
                if coords is None:
                    coords = np.lib.format.open_memmap(new / "coords.npy", "w+", np.int64, (shape[0], 2))
                    coords[:] = -1
                coords[rows] = where
        counts = np.maximum(np.diff(offsets), 1)[:, None]
        np.save(new / "means.npy", (means / counts).astype(np.float32))
        said = {"version": VERSION, "keys": keys, "offsets": offsets.tolist(), "features": [str(f) for f in features]}
        (new / "bags.json").write_text(json.dumps(said | {"slides": slides}), encoding="utf-8")
        del x, coords
    return folder


def _loaded(part: Part, width: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and coordinates of a part, checked."""
    values, where = part.load()
    if values.shape != (part.length, width):
        raise DataError(
            "has changed while it was read",
            where=part.file or part.name,
            met=values.shape,
            wanted=f"{part.length} x {width}",
        )
    if not (good := np.isfinite(values)).all():
        i, j = np.argwhere(~good)[0]
        raise DataError(
            "a feature is not finite", where=f"{part.file or part.name}, instance {i}, feature {j}",
            met=float(values[i, j]), wanted="a number", hint="encode the slide again, or leave it out",
        )  # fmt: skip
    return values, where


def feature_names(encoder: str | None, width: int) -> list[str]:
    """Names of an encoder's features, so that a model does not take those of another for its own."""
    return [f"{encoder or 'feature'}_{j:04d}" for j in range(width)]


def cache_folder() -> Path:
    """Where stores of files are kept: $ISTHMUS_CACHE, else the user's cache folder."""
    given = os.environ.get("ISTHMUS_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isthmus"
    return base / "bags"


def temporary() -> Path:
    """A place for a store that goes when this process ends."""
    folder, owner = Path(tempfile.mkdtemp(prefix="isthmus-bags-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder / "store"
