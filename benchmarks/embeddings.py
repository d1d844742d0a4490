"""The embedding benchmark on reference folds: what a few latent dimensions say of labels that no model has seen.

Shared by `pancan12.py` and `xena3.py`. In every fold everything is fitted on the training samples; a tenth of these
decides when the network stops. A logistic probe reads each label off the embedding of the training samples and is
scored on the test samples by AUC (one class against the rest, averaged over classes). Classes with fewer than twenty
samples are dropped, as in the reference numbers (README.md beside the folder of the folds).

Settings are the same for every number of dimensions, label and fold. They were chosen once, among eight, on a part of
the training samples of pancan12's first fold, by the AUC of all three labels at 2 and 8 dimensions.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

import isthmus as ist
from isthmus.data.cohort import take_samples
from isthmus.data.split_files import read_folds

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
BASELINES = Path(os.environ.get("ISTHMUS_BASELINES", ROOT / "../shared/baselines"))
SMALLEST_CLASS = 20
DIMENSIONS = (2, 8, 29)
MODELS = ("Autoencoder", "VAE")


@dataclass(frozen=True)
class Task:
    """A cohort, its reference folds and the labels to read off."""

    folds: str
    read: Mapping[str, str]
    obs: str
    labels: tuple[str, ...]
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def cohort(self) -> md.MuData:
        """All samples; of those listed twice the first (xena3 has three)."""

        def source(path: str) -> dict[str, str]:
            return {"path": str(DATA / path), "duplicates": "first"}

        return ist.read({m: source(path) for m, path in self.read.items()}, obs=source(self.obs))


def representations(task: Task, train: md.MuData, test: md.MuData, dims: Sequence[int]) -> Iterator[tuple[str, Any]]:
    """Name -> (train, test) of PCA and of each model, for each number of dimensions."""
    values = [np.hstack([part.mod[m].to_df().loc[part.obs_names] for m in task.read]) for part in (train, test)]
    mean, sd = values[0].mean(axis=0), values[0].std(axis=0)
    values = [(x - mean) / np.where(sd > 0, sd, 1) for x in values]
    steps = {m: ["nonzero_variance", "standardise"] for m in task.read}
    for d in dims:
        yield f"PCA {d}", ist.evaluate.representations(*values, d, which=["pca"])["pca"]
        for name in MODELS:
            keys = {"latent": d, **task.model}
            keys = {k: v for k, v in keys.items() if k in getattr(ist, name).model_fields}
            training = ist.Training(**task.training)
            fitted = ist.fit(getattr(ist, name)(**keys), train, prepare=steps, training=training)
            yield f"{name} {d}", tuple(np.asarray(fitted.embed(part).X) for part in (train, test))


def scores(task: Task, dims: Sequence[int], folds: Sequence[int]) -> pd.DataFrame:
    """AUC per representation, label and fold."""
    mdata = task.cohort()
    labels = mdata.obs[list(task.labels)].astype(object)
    for label in labels:
        labels.loc[~(labels[label].map(labels[label].value_counts()) >= SMALLEST_CLASS), label] = None
    rows = []
    for number, fold in enumerate(read_folds(BASELINES / "folds" / task.folds)):
        if number not in folds:
            continue
        train, test = (take_samples(mdata, pd.Index(fold.index[fold == part])) for part in ("train", "test"))
        for name, (z_train, z_test) in representations(task, train, test, dims):
            found = ist.evaluate.probe(
                {name: z_train}, {name: z_test}, labels.loc[train.obs_names], labels.loc[test.obs_names],
                learners=["logistic"],
            )  # fmt: skip
            rows.append(found[found["metric"] == "auc"].assign(fold=number))
    return pd.concat(rows, ignore_index=True)


def markdown(found: pd.DataFrame, labels: Sequence[str]) -> str:
    """Mean and standard deviation over folds; a row per representation, a column per label."""
    by = found.groupby(["representation", "label"], sort=False)["value"].agg(["mean", "std"])
    lines = ["| | " + " | ".join(labels) + " |", "|---|" + "---|" * len(labels)]
    for name in dict.fromkeys(found["representation"]):
        pairs = [by.loc[(name, c)] for c in labels]
        cells = [f"{p['mean']:.3f}" + ("" if np.isnan(p["std"]) else f" ± {p['std']:.3f}") for p in pairs]
        lines.append(f"| {name} | " + " | ".join(c.replace("0.", ".") for c in cells) + " |")
    return "\n".join(lines)


def main(task: Task, description: str) -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMENSIONS))
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--csv", type=Path, help="keep the score of every fold here")
    keys = parser.parse_args()
    started = time.perf_counter()
    found = scores(task, keys.dims, keys.folds)
    if keys.csv is not None:
        found.to_csv(keys.csv, index=False)
    print(markdown(found, task.labels))
    print(f"\nlogistic AUC, mean ± sd over {found['fold'].nunique()} folds; {time.perf_counter() - started:.0f} s")
