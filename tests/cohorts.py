"""Small cohorts that tests of several floors share."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.cohort import build
from isthmus.data.table import aligned
from isthmus.prepare.preparation import Preparation


def table(x, ids, prefix):
    return ad.AnnData(
        np.asarray(x, dtype=np.float32),
        pd.DataFrame(index=list(ids)),
        pd.DataFrame(index=[f"{prefix}{j}" for j in range(x.shape[1])]),
    )


def linear(n=120, widths=(("rna", 30), ("cnv", 20)), d=3, *, noise=0.3, missing=0.0, absent=0, seed=0):
    """Linear-Gaussian tables of the same factors; `missing` of the entries NaN, `absent` rows lacking in the last."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, d))
    ids = np.array([f"s{i:04d}" for i in range(n)])
    mods = {}
    for name, p in widths:
        x = factors @ rng.normal(size=(d, p)) + noise * rng.normal(size=(n, p))
        x[rng.random(x.shape) < missing] = np.nan
        mods[name] = table(x, ids, name)
    if absent:
        mods[name] = mods[name][absent:].copy()
    obs = pd.DataFrame({"kind": np.where(factors[:, 0] > 0, "high", "low")}, index=ids)
    mdata = build(mods, obs)
    mdata.uns["factors"] = factors
    return mdata


def counts(n=80, p=25, *, beside=0, seed=0):
    """One table of negative binomial counts, `rna`, and `beside` linear ones of the same factors."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 2))
    rate = np.exp(factors @ rng.normal(size=(2, p)) * 0.5 + 1)
    x = rng.negative_binomial(3, 3 / (3 + rate))
    ids = [f"s{i:04d}" for i in range(n)]
    others = {
        f"m{k}": table(factors @ rng.normal(size=(2, 12)) + 0.3 * rng.normal(size=(n, 12)), ids, f"m{k}_")
        for k in range(beside)
    }
    return build({"rna": table(x, ids, "g"), **others})


def prepared(mdata, steps=("standardise",)):
    """Every modality after some steps fitted on all samples."""
    return Preparation.parse({m: list(steps) for m in mdata.mod}, list(mdata.mod)).fit(mdata).transform(mdata)


__all__ = ["aligned", "counts", "linear", "prepared", "table"]
