"""Genes from patches of tissue and back, by a JointEmbedding: each section of a tumour predicted from the others.

    python benchmarks/joint_embedding.py [--folds 0 1 2 3] [--seeds 1] [--epochs 40] [--csv FILE] [--done FILE ...]

Reads her2st_histology_rna below ISTHMUS_DATA (spots of four sections of one tumour: an H&E patch of 96 x 96 pixels,
here every 2 x 2 averaged and each section's colours brought to one mean and spread; and counts of 11,755 genes:
Andersson et al. 2021, doi:10.1038/s41467-021-26271-2), the folds task6_her2st_leave_section_out below ISTHMUS_BASELINES
(default ../shared/baselines), and the hallmark gene sets. The 250 genes of the largest variance in train, log(1 +
count) at the median library size.

Genes from a patch: mean over genes of the Pearson correlation over the spots of the section left out, as in the
reference numbers (ridge on colour .299, on a histogram of colours .309, a small CNN .349, shuffled .057); the same
within expression clusters, with the share of genes and of hallmark pathways that beat predictions permuted within
clusters at an FDR of 5 %. Retrieval: a spot's patch among all of the section by its genes, and back, by the cosine
of embeddings. Colours from genes: mean Pearson over 21 statistics of a patch's colours, by ridge from the embedding of
the genes, and from the genes. `shuffled` is the same model on train patches in random order.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from isthmus.data.cohort import build, take_samples
from isthmus.data.pathways import read_pathways
from isthmus.evaluate.alignment import retrieval
from isthmus.evaluate.crossmodal import crossmodal, pathway_scores
from isthmus.measures.said import translated

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
FOLDS = Path(os.environ.get("ISTHMUS_BASELINES", ROOT / "../shared/baselines")) / "folds"
PREPARE = {"rna": ["normalise_total", "log1p", {"top_variance": 250}, "standardise"], "patch": [{"pixels": "channel"}]}
MODEL = ist.JointEmbedding(
    latent=8, hidden=(64,), dropout=0.2, places="averaged", turns=True, weights={"rna": 1.0, "patch": 0.0}
)
"""No decoder of patches is trained: half of the time, and genes do not say where in a patch a nucleus lies."""
TRAINING = {"batch_size": 64, "lr": 1e-3, "schedule": "cosine", "patience": None}
STAIN = (150.0, 40.0)
"""Mean and standard deviation to which each section's colours are brought, by its own pixels."""
PENALTIES = np.logspace(-1, 5, 13)


def cohort() -> md.MuData:
    """Counts and patches of all spots, with section and cluster."""
    folder = DATA / "her2st_histology_rna"
    counts = pd.read_parquet(folder / "counts.parquet").astype(np.float32)
    packed = np.load(folder / "patches_96.npz")
    small = packed["patches"].reshape(-1, 48, 2, 48, 2, 3).astype(np.float32).mean(axis=(2, 4))
    obs = pd.read_csv(folder / "spots.csv", index_col=0)[["section", "cluster"]].astype(str)
    section = obs.loc[packed["spot"].astype(str), "section"].to_numpy()
    for name in np.unique(section):
        of = small[section == name]
        small[section == name] = (of - of.mean(axis=(0, 1, 2))) / of.std(axis=(0, 1, 2)) * STAIN[1] + STAIN[0]
    image = small.clip(0, 255).round().astype(np.uint8)
    patches = ad.AnnData(obs=pd.DataFrame(index=packed["spot"].astype(str)), obsm={"image": image})
    return build({"rna": ad.AnnData(counts), "patch": patches}, obs)


def colours(mdata: md.MuData) -> np.ndarray:
    """Mean, standard deviation and five quantiles of each colour (n x 21)."""
    flat = mdata.mod["patch"].obsm["image"].reshape(mdata.n_obs, -1, 3) / 255.0
    return np.hstack([flat.mean(axis=1), flat.std(axis=1), *np.quantile(flat, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)])


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, components: int | None = None) -> np.ndarray:
    """Predictions for `new`; with `components`, of so many principal components of y."""
    scale = StandardScaler().fit(x)
    if components is None:
        return RidgeCV(PENALTIES).fit(scale.transform(x), y).predict(scale.transform(new))
    pca = PCA(components, random_state=0).fit(y)
    return pca.inverse_transform(ridge(x, pca.transform(y), new))


def shuffled(train: md.MuData) -> md.MuData:
    """The patches of train in random order."""
    patch = train.mod["patch"].copy()
    patch.obsm["image"] = patch.obsm["image"][np.random.default_rng(0).permutation(len(patch))]
    return build({"rna": train.mod["rna"], "patch": patch}, train.obs)


class Section:
    """A section left out: what is to be predicted of it, and by whom."""

    def __init__(self, mdata: md.MuData, fold: dict, options: argparse.Namespace) -> None:
        self.train, self.test = (take_samples(mdata, fold[part]) for part in ("train", "test"))
        self.options, self.rows = options, []

    def fitted(self, train: md.MuData, seed: int) -> ist.Fitted:
        training = TRAINING | {"seed": seed, "epochs": self.options.epochs}
        return ist.fit(MODEL, train, prepare=PREPARE, training=training)

    def genes(self, who: str, guess: np.ndarray) -> None:
        """Score predicted genes."""
        names, sets = list(self.names), self.options.pathways
        found = crossmodal(self.y, guess, features=names, groups=self.test.obs["cluster"])
        terms = pathway_scores(self.y, guess, features=names, pathways=sets, groups=self.test.obs["cluster"])
        row = {"pearson": found["pearson"].mean(), "within": found["pearson_within"].mean()}
        row |= {"genes": (found["q"] < 0.05).mean(), "pathways": (terms["q"] < 0.05).mean()}
        self.rows.append({"task": "genes from patch", "who": who, **row})

    def embedded(self, who: str, fitted: ist.Fitted) -> None:
        """Score retrieval, and colours from the embedding of genes."""
        z = {m: fitted.embed(self.test, source=m).X for m in ("rna", "patch")}
        found = retrieval(z["rna"], z["patch"], metric="cosine")
        self.rows.append({"task": "retrieval", "who": who, **found})
        self.colours(f"ridge from the embedding, {who}", fitted.embed(self.train, source="rna").X, z["rna"])

    def colours(self, who: str, x: np.ndarray, new: np.ndarray) -> None:
        """Score colours that ridge predicts."""
        true, guess = colours(self.test), ridge(x, colours(self.train), new)
        found = crossmodal(true, guess, features=[str(k) for k in range(true.shape[1])])
        self.rows.append({"task": "colours from genes", "who": who, "pearson": found["pearson"].mean()})

    def score(self) -> list[dict]:
        """Everyone on this section."""
        first = self.fitted(self.train, 0)
        prepared = [first.preparation.transform(m)["rna"] for m in (self.train, self.test)]
        self.names = prepared[0].features
        x, self.y = (np.asarray(p.x, dtype=float) for p in prepared)
        patch, new = colours(self.train), colours(self.test)
        self.genes("ridge on mean and sd of colours", ridge(patch[:, :6], x, new[:, :6]))
        self.genes("ridge on 21 statistics of colours", ridge(patch, x, new))
        self.genes("the same, 8 components of genes", ridge(patch, x, new, 8))
        models = [first, *(self.fitted(self.train, s) for s in range(1, self.options.seeds))]
        guesses = [self.predicted(f) for f in models]
        for guess, fitted in zip(guesses, models, strict=True):
            self.genes("JointEmbedding", guess)
            self.embedded("JointEmbedding", fitted)
        if len(guesses) > 1:
            self.genes(f"JointEmbedding, mean of {len(guesses)}", np.mean(guesses, axis=0))
        lost = self.fitted(shuffled(self.train), 0)
        self.genes("JointEmbedding, shuffled", self.predicted(lost))
        self.embedded("JointEmbedding, shuffled", lost)
        self.colours("ridge from 250 genes", x, self.y)
        n = self.test.n_obs
        chance = {"r1": 1 / n, "r5": 5 / n, "median_rank": (n + 1) / 2}
        self.rows.append(
            {"task": "retrieval", "who": "chance", **chance, **{f"{k}_back": v for k, v in chance.items()}}
        )
        return self.rows

    def predicted(self, fitted: ist.Fitted) -> np.ndarray:
        """Genes from patches alone, on the scale of the prepared values."""
        return translated(fitted, fitted.preparation.transform(self.test), "patch", ["rna"])["rna"].astype(float)


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", nargs="*", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--csv", type=Path, help="rows of these folds are left here")
    parser.add_argument("--done", nargs="*", type=Path, default=[], help="such files of other folds, for one table")
    options = parser.parse_args()
    folds = json.loads((FOLDS / "task6_her2st_leave_section_out.json").read_text(encoding="utf-8"))["folds"]
    mdata, rows = cohort(), []
    genes = set(mdata.mod["rna"].var_names)
    options.pathways = read_pathways(DATA / "pathways/hallmark_v7.0_symbols.gmt", features=genes).levels[0]
    for k in options.folds:
        rows += [{"fold": k, **row} for row in Section(mdata, folds[k], options).score()]
        done = pd.DataFrame(rows).query("fold == @k and task == 'genes from patch'")
        say(f"section {k}: {done.groupby('who', sort=False)['pearson'].mean().round(3).to_dict()}")
    if options.csv:
        pd.DataFrame(rows).to_csv(options.csv, index=False)
    table = pd.concat([*(pd.read_csv(f) for f in options.done), pd.DataFrame(rows)], ignore_index=True)
    for task, of in table.groupby("task", sort=False):
        shown = of.drop(columns=["task", "fold"]).dropna(axis=1, how="all")
        say(f"\n{task}\n{shown.groupby('who', sort=False).mean().round(3).to_string()}")


if __name__ == "__main__":
    main()
