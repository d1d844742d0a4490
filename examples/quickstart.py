"""The Python example of the README on simulated data: needs no file, takes some seconds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import isthmus as ist


def main(epochs: int = 60) -> None:
    """Simulate, split, fit, embed, save and load, evaluate."""
    mdata = ist.simulate(n=300, modalities={"rna": 200, "cnv": 100}, shared=4, private=2, classes=3, seed=0)
    train, valid, test = ist.split(mdata, (0.5, 0.2, 0.3), stratify="class", seed=0)

    fitted = ist.fit(
        ist.VAE(latent=6, beta=0.1),
        train,
        valid,
        prepare={"rna": ["standardise"], "cnv": ["standardise"]},
        training=ist.Training(epochs=epochs, seed=0),
    )
    z = fitted.embed(test)  # AnnData: samples x latent dimensions, annotations carried over
    full = fitted.impute(test)  # missing values and absent modalities, with intervals, in original units
    print(f"embedding {z.shape}, history of {len(fitted.history)} epochs, imputed {list(full.mod)}")

    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "model")
        again = ist.load(Path(folder) / "model")
    print("the loaded model gives the same embedding:", np.array_equal(z.X, again.embed(test).X))

    # Beside PCA of the same number of dimensions, which is fitted on train and applied to test.
    tables = [np.hstack([part[m].to_df().reindex(part.obs_names) for m in part.mod]) for part in (train, test)]
    pca = ist.evaluate.representations(*tables, 6, which=["pca"])["pca"][1]
    scores = ist.evaluate.embedding(z.X, z.obs["class"], baselines={"pca": pca}, learners=["logistic"])
    print(
        scores.query("metric == 'auc'")[["representation", "label", "mean", "sd", "difference"]].to_string(index=False)
    )


if __name__ == "__main__":
    main()
