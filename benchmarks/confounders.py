"""What of a confounder stays in an embedding, by method of control, and what that costs the label.

    python benchmarks/confounders.py [stemcells|stad] [--methods NAME ...] [--csv FILE]

`stemcells`: RNA of 125 cell lines from four studies (of mixOmics, Rohart et al. 2017): should know the cell type, not
the study. `stad`: RNA and mutations of stomach cancers at six sites of at least 20 patients each (TCGA by way of UCSC
Xena Toil, github.com/mahmoodlab/SurvPath): the grade, not the site. Both below ISTHMUS_DATA. Eight dimensions each.

Weights of the penalties were tried (1, 10, 100, 500) on two of the folds of `stemcells`, so there they are a little too
good; `stad` was not looked at. Training is not stopped early: where the loss holds a penalty, it stops far too soon.

Two protocols, everything fitted on the training samples. Five folds of samples (those of the reference numbers where
ISTHMUS_BASELINES has them): AUC (one class against the rest) of the site by a linear probe and by a random forest, and
of the label by the linear one; both are fitted on the embedding of train and scored on test. Leaving one site out: the
embedding and the linear probe of the label are fitted on the other sites; balanced accuracy, the mean over sites.
"centred" takes out the means of train's sites before PCA; a site that train has not is left as it is. "centred on
itself" takes the mean of the new site from its own samples: it asks for a batch of them, with classes mixed alike.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

import isthmus as ist
from isthmus.data.cohort import build, take_samples
from isthmus.data.split_files import read_folds
from isthmus.evaluate import probe, representations, without_confounders

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
BASELINES = Path(os.environ.get("ISTHMUS_BASELINES", ROOT / "../shared/baselines"))
LATENT = 8
METHODS: dict[str, Any] = {
    "VAE": None,
    "VAE, conditional": {"method": "conditional"},
    "VAE, correlation": {"method": "correlation", "weight": 100},
    "VAE, hsic": {"method": "hsic", "weight": 100},
    "VAE, adversarial": {"method": "adversarial", "weight": 10},
    "VAE, residualise": {"method": "residualise"},
    "VAE, residualise + conditional + hsic": {"method": ["residualise", "conditional", "hsic"], "weight": 100},
}
COHORTS = {"stemcells": ("study", "celltype", 200), "stad": ("site", "grade", 60)}
SMALLEST_SITE = 20


def stemcells() -> md.MuData:
    """Text in the place of the studies' numbers."""
    folder = DATA / "stemcells_batches"
    mdata = ist.read({"rna": str(folder / "gene.csv.gz")}, obs=str(folder / "meta.csv"))
    mdata.obs["study"] = "study " + mdata.obs["study"].astype(str)
    return mdata


def stad() -> md.MuData:
    """Stomach cancers of grade 2 and 3; the site is the second part of a patient's barcode."""
    folder = DATA / "tcga_xena3"
    tables = {"rna": "rna_log2tpm.parquet", "mutation": "mut_common.parquet"}
    read = {m: {"path": str(folder / f), "duplicates": "first"} for m, f in tables.items()}
    mdata = ist.read(read, obs={"path": str(folder / "clinical.csv"), "duplicates": "first"})
    obs = mdata.obs.assign(site=mdata.obs_names.str.split("-").str[1])
    obs = obs[(obs["cancer"] == "stad") & obs["grade"].isin(["G2", "G3"])]
    obs = obs[obs["site"].map(obs["site"].value_counts()) >= SMALLEST_SITE]
    some = take_samples(mdata, obs.index)
    return build(dict(some.mod), obs.loc[some.obs_names])


def values(train: md.MuData, test: md.MuData) -> tuple[np.ndarray, np.ndarray]:
    """All modalities, standardised by train."""
    a, b = (np.hstack([part.mod[m].to_df().loc[part.obs_names] for m in part.mod]) for part in (train, test))
    mean, sd = a.mean(axis=0), a.std(axis=0)
    kept = sd > 0
    return ((a - mean) / np.where(kept, sd, 1))[:, kept], ((b - mean) / np.where(kept, sd, 1))[:, kept]


def embeddings(
    train: md.MuData, test: md.MuData, site: str, *, epochs: int, methods: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Name -> (train, test) of every row of the table."""
    a, b = values(train, test)
    here, there = train.obs[[site]], test.obs[[site]]
    yield "PCA", representations(a, b, LATENT, which=["pca"])["pca"]
    rest = without_confounders(a, b, here, there)
    yield "PCA, centred", representations(*rest, LATENT, which=["pca"])["pca"]
    if not set(there[site]) & set(here[site]):
        alone = b - b.mean(axis=0)
        yield "PCA, centred on itself", representations(rest[0], alone, LATENT, which=["pca"])["pca"]
    steps = {m: ["nonzero_variance", "standardise"] for m in train.mod}
    for name in methods:
        control = METHODS[name]
        fitted = ist.fit(
            ist.VAE(latent=LATENT, hidden=(64,)), train, prepare=steps,
            confounders=None if control is None else {"columns": [site], **control},
            training=ist.Training(epochs=epochs, batch_size=32, patience=None, seed=0),
        )  # fmt: skip
        yield name, tuple(np.asarray(fitted.embed(part).X) for part in (train, test))


def scored(name: str, z: Any, sides: tuple[md.MuData, md.MuData], label: str, learner: str) -> pd.Series:
    """Metric -> score of one label by one learner."""
    obs = [s.obs[[label]].astype(str) for s in sides]
    found = probe({name: z[0]}, {name: z[1]}, *obs, learners=[learner], min_class=2)
    return found.set_index("metric")["value"]


def by_folds(mdata: md.MuData, cohort: str, methods: Sequence[str]) -> pd.DataFrame:
    """Site and label in five folds of samples."""
    site, label, epochs = COHORTS[cohort]
    saved = BASELINES / "folds" / f"task8_{cohort}.json"
    if saved.is_file():
        ids = [(f.index[f == "train"], f.index[f == "test"]) for f in read_folds(saved)]
        pairs = [(take_samples(mdata, a), take_samples(mdata, b)) for a, b in ids]
    else:
        pairs = list(ist.folds(mdata, 5, stratify=label, seed=0))
    rows = []
    for pair in pairs:
        for name, z in embeddings(*pair, site, epochs=epochs, methods=methods):
            linear, forest = (scored(name, z, pair, site, k)["auc"] for k in ("logistic", "forest"))
            of_label = scored(name, z, pair, label, "logistic")["auc"]
            rows.append({"name": name, "site, linear": linear, "site, forest": forest, "label": of_label})
    return pd.DataFrame(rows)


def by_sites(mdata: md.MuData, cohort: str, methods: Sequence[str]) -> pd.DataFrame:
    """The label at a site that neither the embedding nor the probe has seen."""
    site, label, epochs = COHORTS[cohort]
    rows = []
    for pair in ist.folds(mdata, leave_out=site):
        for name, z in embeddings(*pair, site, epochs=epochs, methods=methods):
            rows.append({"name": name, "new site": scored(name, z, pair, label, "logistic")["balanced_accuracy"]})
    return pd.DataFrame(rows)


def markdown(folds: pd.DataFrame, sites: pd.DataFrame) -> str:
    """A row per embedding: mean and standard deviation over folds, over sites."""
    both = [t.groupby("name", sort=False).agg(["mean", "std"]) for t in (folds, sites)]
    table = both[1].join(both[0], how="left")[[*both[0].columns, *both[1].columns]]
    columns = list(dict.fromkeys(c for c, _ in table.columns))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, row in table.iterrows():
        cells = [
            f"{row[c, 'mean']:.3f} ± {row[c, 'std']:.3f}" if row[c, "mean"] == row[c, "mean"] else "" for c in columns
        ]
        lines.append(f"| {name} | " + " | ".join(c.replace("0.", ".") for c in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohorts", nargs="*", choices=[*COHORTS, []], default=list(COHORTS))
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--csv", type=Path, help="keep the score of every fold here")
    keys = parser.parse_args()
    for cohort in keys.cohorts:
        started = time.perf_counter()
        mdata = {"stemcells": stemcells, "stad": stad}[cohort]()
        folds, sites = by_folds(mdata, cohort, keys.methods), by_sites(mdata, cohort, keys.methods)
        site, label, _ = COHORTS[cohort]
        print(f"\n{cohort}: {mdata.n_obs} samples, {mdata.obs[site].nunique()} of {site}, label {label}\n")
        print(markdown(folds, sites))
        print(f"\n{time.perf_counter() - started:.0f} s")
        if keys.csv is not None:
            both = pd.concat([folds, sites]).assign(cohort=cohort)
            both.to_csv(keys.csv.with_stem(f"{keys.csv.stem}_{cohort}"), index=False)


if __name__ == "__main__":
    main()
