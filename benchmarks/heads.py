"""Heads and confounders on simulated cohorts: what the weight of heads does, and what each method leaves of a site.

    python benchmarks/heads.py [weights|methods]

`weights`: three cohorts of 300 samples, 300 + 100 features; classes, a number and survival that follow the shared
factors; test scores of the three heads, the concordance of the true risk, and the error of the reconstruction, each a
mean over the cohorts, by the weight that all heads have.

`methods`: one cohort of 300 samples with shifts of every feature between three sites as large as the signal; of the
embedding of test samples the adjusted Rand index of k-means clusters with sites and with classes, and the AUC of fresh
probes, linear and forest, cross-validated among the test samples.
"""

from __future__ import annotations

import sys
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

import isthmus as ist

MODELS = {"VAE": ist.VAE(latent=8), "Autoencoder": ist.Autoencoder(latent=8)}
TRAINING = ist.Training(epochs=150, seed=0)
METHODS: tuple[dict[str, Any] | None, ...] = (
    None, {"method": "conditional"}, {"method": "adversarial"}, {"method": "hsic"}, {"method": "hsic", "weight": 100},
    {"method": "correlation"}, {"method": ["conditional", "hsic"]}, {"method": "residualise"},
)  # fmt: skip


def followed(seed: int) -> tuple[md.MuData, np.ndarray]:
    """A cohort whose outcomes follow its factors, and the true log hazard."""
    mdata = ist.simulate(n=300, modalities={"rna": 300, "cnv": 100}, shared=4, private=2, classes=3, seed=seed)
    rng, factors = np.random.default_rng(seed), mdata.uns["truth"]["factors"]
    hazard = factors.iloc[:, 0].to_numpy()
    hazard = (hazard - hazard.mean()) / hazard.std()
    happens, ends = rng.exponential(np.exp(-hazard)), rng.exponential(1.0, len(hazard))
    age = 60 + 10 * factors.iloc[:, 1].to_numpy() + 3 * rng.normal(size=len(hazard))
    mdata.obs = mdata.obs.assign(time=np.minimum(happens, ends), event=(happens <= ends).astype(int), age=age)
    return mdata, hazard


def weights() -> pd.DataFrame:
    """A row per model and weight."""
    rows = []
    for seed in range(3):
        mdata, hazard = followed(seed)
        train, test = ist.split(mdata, (0.7, 0.3), seed=0)
        obs, true = test.obs, hazard[mdata.obs_names.get_indexer(test.obs_names)]
        time, event = obs["time"].to_numpy(), obs["event"].to_numpy(dtype=float)
        for name, model in MODELS.items():
            for weight in (0.03, 0.1, 0.3, 1.0):
                heads = {
                    "class": {"kind": "class", "weight": weight}, "age": {"kind": "value", "weight": weight},
                    "os": {"kind": "cox", "time": "time", "event": "event", "weight": weight},
                }  # fmt: skip
                fitted = ist.fit(model, train, heads=heads, training=TRAINING)
                said = fitted.predict(test)
                auc = roc_auc_score(obs["class"].astype(str), said.filter(like="class/"), multi_class="ovr")
                off = fitted.reconstruct(test)["rna"].X - test["rna"].X
                rows.append({
                    "model": name, "weight": weight, "class AUC": auc, "age R2": r2_score(obs["age"], said["age"]),
                    "C": ist.evaluate.survival.concordance(time, event, said["os/log_risk"].to_numpy()),
                    "C of the true risk": ist.evaluate.survival.concordance(time, event, true),
                    "squared error": float((off**2).mean()), "epochs": len(fitted.history),
                })  # fmt: skip
    return pd.DataFrame(rows).groupby(["model", "weight"], sort=False).mean()


def told(z: np.ndarray, labels: pd.Series) -> dict[str, float]:
    """What clusters and fresh probes find of a label."""
    y, scaled = labels.astype(str).to_numpy(), (z - z.mean(0)) / z.std(0)
    clusters = KMeans(len(set(y)), n_init=10, random_state=0).fit_predict(z)
    found = {f"{labels.name} ARI": adjusted_rand_score(y, clusters)}
    probes = {"linear": LogisticRegression(max_iter=2000), "forest": RandomForestClassifier(200, random_state=0)}
    for name, probe in probes.items():
        shares = cross_val_predict(probe, scaled, y, cv=5, method="predict_proba")
        found[f"{labels.name} {name}"] = roc_auc_score(y, shares, multi_class="ovr")
    return found


def methods() -> pd.DataFrame:
    """A row per model and method."""
    mdata = ist.simulate(n=300, modalities={"rna": 200, "cnv": 80}, classes=3, site_effect=1.0, seed=0)
    train, test = ist.split(mdata, (0.6, 0.4), seed=0)
    rows = []
    for name, model in MODELS.items():
        for asked in METHODS:
            keys = None if asked is None else {"columns": ["site"], **asked}
            z = np.asarray(ist.fit(model, train, confounders=keys, training=TRAINING).embed(test).X)
            what = "nothing" if asked is None else str(asked["method"])
            what += f", weight {asked['weight']}" if asked and "weight" in asked else ""
            rows.append({"model": name, "method": what, **told(z, test.obs["site"]), **told(z, test.obs["class"])})
    return pd.DataFrame(rows).set_index(["model", "method"])


def main() -> None:
    """Print what is asked for, or both."""
    pd.set_option("display.width", 200)
    for what in sys.argv[1:] or ["weights", "methods"]:
        print(f"{what}\n{({'weights': weights, 'methods': methods}[what])().round(3).to_string()}\n", flush=True)


if __name__ == "__main__":
    main()
