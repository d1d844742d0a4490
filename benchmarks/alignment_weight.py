"""The weight of a JointEmbedding's alignment: between noise and oversmoothing, on RNA and copy number of breast cancer.

    python benchmarks/alignment_weight.py [--weights 0 0.03 ...] [--seeds 1] [--epochs 30] [--csv FILE] [--figure PNG]

Reads tcga_cohorts/brca below ISTHMUS_DATA (956 patients, the 400 genes and 200 copy numbers of the largest variance).
Per weight and seed, on a test part of a third: `task`, balanced accuracy of PAM50 by a logistic regression from the
joint embedding, trained on train; `retrieval`, how often a patient's copy number is among the five nearest by its RNA,
by cosine, beside chance; `prediction`, mean R2 over the copy numbers predicted from RNA; `rank`, the effective rank of
the RNA's own embedding; `between`, the share of its variance between subtypes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from isthmus.evaluate.alignment import retrieval
from isthmus.evaluate.latent import effective_rank
from isthmus.evaluate.reconstruct import reconstruction
from isthmus.measures.said import translated
from isthmus.plot.alignment import alignment_tradeoff

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
LABEL = "PAM50"
PREPARE = {
    "rna": [{"clip": {"low": -5, "high": 5}}, {"top_variance": 400}, "standardise"],
    "cnv": [{"top_variance": 200}, "standardise"],
}


def scores(weight: float, parts: tuple[md.MuData, md.MuData], seed: int, epochs: int) -> dict[str, float]:
    """One model under one weight."""
    train, test = parts
    training = {"epochs": epochs, "batch_size": 64, "lr": 2e-3, "schedule": "cosine", "patience": None, "seed": seed}
    model = ist.JointEmbedding(latent=16, hidden=(128,), dropout=0.2, alignment=weight)
    fitted = ist.fit(model, train, prepare=PREPARE, training=training)
    z = {m: fitted.embed(test, source=m).X for m in ("rna", "cnv")}
    found = retrieval(z["rna"], z["cnv"], metric="cosine")
    row = {"weight": weight, "seed": seed, "retrieval": found["r5"], "median_rank": found["median_rank"]}
    prepared = fitted.preparation.transform(test)
    true, guess = prepared["cnv"].x, translated(fitted, prepared, "rna", ["cnv"])["cnv"]
    row["prediction"] = reconstruction(true, guess, reference=np.zeros(true.shape[1]))["r2_feature"]
    label = {k: m.obs[LABEL].notna().to_numpy() for k, m in (("train", train), ("test", test))}
    scale = StandardScaler().fit(joint := fitted.embed(train).X[label["train"]])
    probe = LogisticRegression(max_iter=1000).fit(scale.transform(joint), train.obs[LABEL].dropna().astype(str))
    read = probe.predict(scale.transform(fitted.embed(test).X[label["test"]]))
    row["task"] = balanced_accuracy_score(test.obs[LABEL].dropna().astype(str), read)
    own = pd.DataFrame(z["rna"][label["test"]])
    within = own - own.groupby(test.obs[LABEL].dropna().astype(str).to_numpy()).transform("mean")
    row["between"] = 1 - float((within**2).to_numpy().sum() / ((own - own.mean()) ** 2).to_numpy().sum())
    return row | {"rank": effective_rank(z["rna"]), "chance": 5 / test.n_obs}


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", type=float, default=[0, 0.03, 0.1, 0.3, 1, 3, 10])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    folder = DATA / "tcga_cohorts/brca"
    mdata = ist.read({"rna": folder / "rnaseq.parquet", "cnv": folder / "cnv.parquet"}, obs=folder / "clinical.csv")
    rows = []
    for seed in range(options.seeds):
        parts = ist.split(mdata, (2 / 3, 1 / 3), stratify=LABEL, seed=seed)
        for weight in options.weights:
            rows.append(scores(weight, parts, seed, options.epochs))
            say(", ".join(f"{k} {v:.3f}" for k, v in rows[-1].items()))
    table = pd.DataFrame(rows)
    say(table.groupby("weight").mean().drop(columns="seed").round(3).to_string())
    if options.csv:
        table.to_csv(options.csv, index=False)
    if options.figure:
        alignment_tradeoff(table).savefig(options.figure, dpi=160)


if __name__ == "__main__":
    main()
