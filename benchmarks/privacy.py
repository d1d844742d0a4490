"""What attacks find of models trained plainly, stopped early, and privately; and what privacy costs.

    python benchmarks/privacy.py [--cases simulated brca] [--refits 6] [--csv FILE]

Cases: `simulated`, 300 training and 300 held-out samples of 500 and 100 features (3 shared factors, 3 classes);
`brca`, RNA of 478 training and 478 held-out patients (tcga_cohorts/brca below ISTHMUS_DATA; see examples/brca.yaml for
where the public gets it). Each training is audited as `isthmus audit` does: by a threshold on the loss, and by the
likelihood ratio with refits on random halves; AUC with 95 % intervals, and the share of members found at 1 % false
alarms. `R2`: of held-out samples, all values together against the train means. `label`: AUC of a logistic regression
from the embedding of train to held-out samples (class; PAM50). `scaled: no` leaves out the step that learns means and
standard deviations of the training samples, which private training does not cover.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

import isthmus as ist
from isthmus.evaluate.probes import probe
from isthmus.evaluate.reconstruct import reconstruction
from isthmus.share.auditing import audit

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
PLAIN = {"batch_size": 64, "patience": None}
PRIVATE = {"epochs": 20, "batch_size": 64, "lr": 3e-3, "patience": None}


def simulated():
    mdata = ist.simulate(n=600, modalities={"rna": 500, "cnv": 100}, shared=3, classes=3, seed=0)
    model = ist.Autoencoder(latent=8, hidden=(32,))
    trainings = {
        "untrained": {"epochs": 1, "lr": 1e-9, **PLAIN}, "20 epochs": {"epochs": 20, **PLAIN},
        "100 epochs": {"epochs": 100, **PLAIN}, "stopped early": {"epochs": 100, "batch_size": 64, "patience": 5},
        "private, epsilon 8": {**PRIVATE, "private": {"epsilon": 8, "delta": 1e-4}},
        "private, epsilon 2": {**PRIVATE, "private": {"epsilon": 2, "delta": 1e-4}},
    }  # fmt: skip
    return mdata, model, trainings, ["standardise"], [], "class"


def brca():
    folder = DATA / "tcga_cohorts" / "brca"
    mdata = ist.read({"rna": folder / "rnaseq.parquet"}, obs=folder / "clinical.csv")
    model = ist.VAE(latent=8, hidden=(32,), beta=0.1)
    trainings = {
        "20 epochs": {"epochs": 20, **PLAIN}, "100 epochs": {"epochs": 100, **PLAIN},
        "private, epsilon 8": {**PRIVATE, "private": {"epsilon": 8, "delta": 1e-4}},
    }  # fmt: skip
    clip = {"clip": {"low": -5.0, "high": 5.0}}
    return mdata, model, trainings, [clip, "standardise"], [clip], "PAM50"


def useful(fitted, train, held_out, label):
    """R2 of reconstruction of held-out samples, and what a classifier makes of their embedding."""
    scores = []
    for name, mean in fitted.means(held_out).items():
        prepared = {k: fitted.preparation.transform(m)[name] for k, m in (("train", train), ("test", held_out))}
        x = {k: p.rows(np.arange(len(p))).astype(float) for k, p in prepared.items()}
        scores.append(reconstruction(x["test"], mean.astype(float), reference=np.nanmean(x["train"], axis=0))["r2"])
    z = [np.asarray(fitted.embed(part).X) for part in (train, held_out)]
    labels = [part.obs[[label]] for part in (train, held_out)]
    table = probe({"z": z[0]}, {"z": z[1]}, *labels, learners=("logistic",))
    return float(np.mean(scores)), float(table.loc[table["metric"] == "auc", "value"].iloc[0])


def rows(case, refits):
    mdata, model, trainings, scaled, unscaled, label = {"simulated": simulated, "brca": brca}[case]()
    train, held_out = ist.split(mdata, (0.5, 0.5), seed=0)
    for name, training in trainings.items():
        for steps in (scaled, unscaled) if name == "private, epsilon 8" else (scaled,):
            started = time.perf_counter()
            prepare = dict.fromkeys(mdata.mod, steps)
            fitted = ist.fit(model, train, prepare=prepare, training={"seed": 0, **training})
            seconds = time.perf_counter() - started
            found = audit(fitted, train, held_out, refits=refits).membership
            own = found[found["target"] == "this model"].set_index("attack")
            r2, auc = useful(fitted, train, held_out, label)
            row = {"case": case, "training": name, "scaled": "yes" if steps is scaled else "no"}
            for attack in ("threshold", "likelihood ratio"):
                of = own.loc[attack]
                row[attack] = f"{of['auc']:.2f} ({of['auc_lower']:.2f} to {of['auc_upper']:.2f})"
            row["refits"] = f"{found['auc'].iloc[-1]:.2f}"
            row["found at 1 %"] = f"{own.loc['likelihood ratio', 'tpr_at_fpr_01']:.2f}"
            spent = fitted.recipe.get("privacy", {}).get("epsilon")
            row |= {"epsilon": f"{spent:.2f}" if spent else "", "R2": f"{r2:.2f}", "label": f"{auc:.2f}"}
            yield {**row, "seconds": f"{seconds:.0f}"}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", nargs="+", default=["simulated", "brca"])
    options.add_argument("--refits", type=int, default=6)
    options.add_argument("--csv", type=Path)
    keys = options.parse_args()
    logging.getLogger("isthmus").setLevel(logging.ERROR)
    made = []
    for case in keys.cases:
        for row in rows(case, keys.refits):
            if not made:
                print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
            made.append(row)
            print("| " + " | ".join(row.values()) + " |", flush=True)
    if keys.csv:
        pd.DataFrame(made).to_csv(keys.csv, index=False)


if __name__ == "__main__":
    main()
