"""The samples of a job, read and prepared once in a process however many jobs ask for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.assess import Scale, joined, mean_compared
from isthmus.config import validate
from isthmus.data.bags import is_bag
from isthmus.data.cohort import build, union
from isthmus.data.split import Split, take
from isthmus.data.split import labels as split_labels
from isthmus.data.table import Array
from isthmus.errors import DataError
from isthmus.evaluate.arrays import feature_means
from isthmus.experiment import cohort
from isthmus.fitting import typical_library
from isthmus.prepare.preparation import Preparation
from isthmus.prepare.prepared import Prepared
from isthmus.prepare.step import describe
from isthmus.recipe import parse_recipe
from isthmus.types import COUNTS

__all__ = ["Parts", "Sight", "parts", "splits_of"]

COHORTS, KEPT = 2, 4
MOST_CELLS = 100_000_000
"""Entries of the test samples that are reconstructed at a time."""


@dataclass(frozen=True)
class Sight:
    """What a job sees: hashable, so that what was made of it can be kept.

    `data`, `prepare`, `likelihood` and `split` are sections of a recipe as JSON; `outcomes` are the columns of obs that
    heads read.
    """

    data: str
    prepare: str
    likelihood: str
    split: str
    fold: int
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    control: str = ""
    seed: int = 0
    outcomes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> Sight:
        """The sight of a task."""
        texts = {
            k: json.dumps(task[k]) for k in ("data", "prepare", "likelihood", "split")
        }  # the order of modalities counts
        seed = int(task["seed"]) if task["control"] else 0
        return cls(
            **texts, fold=int(task["fold"]), modalities=tuple(task["modalities"]), labels=tuple(task["labels"]),
            control=str(task["control"]), seed=seed, outcomes=tuple(task.get("outcomes", ())),
        )  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """Samples by part, as a model gets them and as baselines read them.

    Attributes
    ----------
    cohorts
        Part -> samples; already prepared where that makes no difference to the model.
    prepare
        What `fit` has still to do to them.
    prepared
        Part -> modality -> prepared values.
    scales, references
        Modality -> how its values are compared, and the train means on that scale.
    matrices
        Part -> what baselines read, all modalities beside each other.
    raw
        Part -> the values before preparation.
    obs
        Part -> the labels.
    """

    cohorts: dict[str, md.MuData]
    prepare: dict[str, list[Any]]
    prepared: dict[str, dict[str, Prepared]]
    scales: dict[str, Scale]
    references: dict[str, np.ndarray]
    matrices: dict[str, Array]
    raw: dict[str, md.MuData]
    obs: dict[str, pd.DataFrame]

    @property
    def scored(self) -> np.ndarray:
        """Positions of the test samples whose reconstruction is scored: all, or a draw where they would fill memory."""
        n, width = self.matrices["test"].shape
        most = max(1, MOST_CELLS // max(width, 1))
        return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).choice(n, most, replace=False))

    @property
    def seen(self) -> dict[str, np.ndarray]:
        """Part -> the samples that have any of the modalities."""
        return {part: np.any([p.present for p in of.values()], axis=0) for part, of in self.prepared.items()}


@lru_cache(maxsize=COHORTS)
def _cohort(data: str) -> md.MuData:
    """The cohort of a section `data`."""
    return cohort(parse_recipe({"data": json.loads(data), "model": {"name": "autoencoder"}}))


@lru_cache(maxsize=64)
def splits_of(data: str, split: str) -> list[pd.Series]:
    """The part of every sample, a series a fold."""
    return split_labels(_cohort(data).obs, validate(Split, json.loads(split), where="data.split"))


@lru_cache(maxsize=KEPT)
def parts(sight: Sight) -> Parts:
    """The samples that a job sees.

    Raises
    ------
    InputError
        As reading, splitting and preparing do.
    """
    whole = _cohort(sight.data)
    named = splits_of(sight.data, sight.split)[sight.fold]
    mdata = _controlled(_narrowed(whole, sight), sight)
    named = named[named.index.isin(mdata.obs_names)]
    present = [p for p in ("train", "valid", "test") if (named == p).any()]
    raw = dict(zip(present, take(mdata, named), strict=True))
    if sight.control == "pairing":
        raw["train"] = _unpaired(raw["train"], sight.seed)
    prepare, likelihood = json.loads(sight.prepare), json.loads(sight.likelihood)
    untouched: dict[str, list[Any]] = {m: [] for m in sight.modalities if likelihood.get(m, "gaussian") != "gaussian"}
    preparation = Preparation.parse(prepare, sight.modalities, defaults=untouched).fit(raw["train"])
    prepared = {part: preparation.transform(m) for part, m in raw.items()}
    scales = {m: _scale(prepared["train"][m], likelihood.get(m, "gaussian")) for m in sight.modalities}
    matrices = {p: joined([scales[m].matrix(of[m]) for m in sight.modalities]) for p, of in prepared.items()}
    references = {m: mean_compared(prepared["train"][m], scales[m]) for m in sight.modalities}
    plain = all(p.dense and p.picture is None for p in prepared["train"].values())
    cohorts = {part: _as_cohort(of, raw[part]) for part, of in prepared.items()} if plain else raw
    spans = {m: preparation[m].span for m in sight.modalities}
    still: dict[str, list[Any]] = (
        {m: [] if s is None else [describe(s)] for m, s in spans.items()} if plain else prepare
    )
    obs = {part: m.obs[list(sight.labels)] for part, m in raw.items()}
    return Parts(cohorts, still, prepared, scales, references, matrices, raw, obs)


def _narrowed(mdata: md.MuData, sight: Sight) -> md.MuData:
    """Some modalities, and the samples that have any of them."""
    if list(sight.modalities) == list(mdata.mod):
        return mdata
    some = {m: mdata.mod[m] for m in sight.modalities}
    return build(some, mdata.obs[mdata.obs_names.isin(union(some))])


def _controlled(mdata: md.MuData, sight: Sight) -> md.MuData:
    """With labels and outcomes permuted, or the last modality replaced by noise like it, or by its mean."""
    rng = np.random.default_rng([sight.seed, 7])
    if sight.control == "labels":
        order = rng.permutation(mdata.n_obs)
        obs = mdata.obs.copy()
        for label in dict.fromkeys((*sight.labels, *sight.outcomes)):
            obs[label] = obs[label].iloc[order].set_axis(obs.index)
        return build(dict(mdata.mod), obs)
    if sight.control in ("noise", "mean"):
        last, without = sight.modalities[-1], _flat if sight.control == "mean" else _noise
        return build({m: without(a, rng) if m == last else a for m, a in mdata.mod.items()}, mdata.obs)
    return mdata


def _noise(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Every feature permuted on its own: the same values, of nobody; images and bags are dealt to other samples."""
    if not adata.n_vars or is_bag(adata):
        other = adata[rng.permutation(adata.n_obs)].copy()
        other.obs_names = adata.obs_names
        return other
    made = adata.copy()
    x = made.X.toarray() if sp.issparse(made.X) else np.asarray(made.X)
    mixed = rng.permuted(x, axis=0)
    made.X = sp.csr_matrix(mixed) if sp.issparse(adata.X) else mixed
    return made


def _flat(adata: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Every entry replaced by the mean of its feature."""
    if not adata.n_vars or is_bag(adata):
        raise DataError("is for tables, as images and bags have no mean to show", where="compare.controls", met="mean")
    made = adata.copy()
    x = made.X.toarray() if sp.issparse(made.X) else np.asarray(made.X)
    flat = np.broadcast_to(np.nan_to_num(feature_means(x)), x.shape).astype(x.dtype)
    made.X = sp.csr_matrix(flat) if sp.issparse(adata.X) else flat
    return made


def _unpaired(train: md.MuData, seed: int) -> md.MuData:
    """Training samples whose modalities, but for the first, belong to others."""
    rng, made = np.random.default_rng([seed, 11]), {}
    for k, (name, adata) in enumerate(train.mod.items()):
        other = adata[rng.permutation(adata.n_obs)].copy() if k else adata
        other.obs_names = adata.obs_names
        made[name] = other
    return build(made, train.obs)


def _scale(train: Prepared, likelihood: str) -> Scale:
    return Scale.of(train, likelihood, typical_library(train) if likelihood in COUNTS else 1.0)


def _as_cohort(prepared: Mapping[str, Prepared], raw: md.MuData) -> md.MuData:
    """Prepared values as a cohort of the samples that have each modality."""
    mods = {}
    for name, p in prepared.items():
        x = p.rows(np.flatnonzero(p.present))
        ids = raw.obs_names[p.present]
        mods[name] = ad.AnnData(x, pd.DataFrame(index=ids), pd.DataFrame(index=p.features.astype(str)))
    return build(mods, raw.obs)
