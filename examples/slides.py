"""From slides to a model: simulated slides are tiled, encoded, joined with expression, and weighed by attention.

    python examples/slides.py [FOLDER]      takes half a minute and leaves everything in FOLDER (isthmus-slides)

Half of the slides hold one small nodule of tumour (the others none); all hold dense patches of other cells, and each
is stained a little differently. Whoever has real slides starts at the second step, by `isthmus slides tile`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from isthmus import slides

SIDE, TILE, MPP = 384, 32, 1.0


def draw(rng: np.random.Generator, *, tumour: bool) -> tuple[np.ndarray, np.ndarray]:
    """A slide with glass around its tissue, and where it has tumour."""
    down, across = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(down - SIDE / 2, across - SIDE / 2)
    tissue = radius < SIDE * rng.uniform(0.40, 0.48)
    nodule = np.zeros_like(tissue)
    density = np.full((SIDE, SIDE), 0.05)
    for kind in (["tumour"] if tumour else []) + ["follicle"] * int(rng.integers(2, 5)):
        y, x = SIDE / 2 + rng.uniform(-0.25, 0.25, 2) * SIDE
        place = np.hypot(down - y, across - x) < rng.uniform(34, 46)
        density[place] = 0.35
        nodule = nodule | place if kind == "tumour" else nodule & ~place
    nuclei = rng.random((SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1) < density
    stain = rng.normal(0, 8, 3)
    image = np.full((SIDE, SIDE, 3), 244.0)
    image[tissue] = np.array([222, 150, 190]) + stain
    image[tissue & nuclei] = np.array([90, 60, 140]) + stain
    image[tissue & nuclei & nodule] = np.array([110, 40, 120]) + stain
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), nodule & tissue


def cohort(folder: Path, n: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """Slides as TIFF files with their scale; classes; expression that follows them, with noise; where the tumour is."""
    rng = np.random.default_rng(0)
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    ids, truth = [f"P{i:03d}" for i in range(n)], {}
    tumour = rng.permutation(n) < n // 2
    for name, positive in zip(ids, tumour, strict=True):
        image, truth[name] = draw(rng, tumour=bool(positive))
        Image.fromarray(image).save(folder / "slides" / f"{name}.tif", dpi=(25_400 / MPP, 25_400 / MPP))
    loadings = rng.normal(0, 0.5, 50) * (rng.random(50) < 0.3)
    rna = pd.DataFrame(rng.normal(0, 1, (n, 50)) + tumour[:, None] * loadings, ids).add_prefix("gene")
    return rna, pd.DataFrame({"tumour": np.where(tumour, "yes", "no")}, ids), truth


def main(folder: Path, n: int = 120, epochs: int = 80) -> None:
    """Simulate, tile, encode, read, fit, and look where the attention lies."""
    rna, obs, truth = cohort(folder, n)

    listed = slides.listed_slides([folder / "slides"])
    settings = {"mpp": MPP, "size": TILE, "overlap": 0, "min_tissue": 0.8}
    tiled = slides.tile_all(listed, folder / "tiles", settings=settings, overwrite=True)
    slides.encode_all(listed, folder / "features", tiles=folder / "tiles", encoder="colour", overwrite=True)
    print(f"{n} slides, {tiled['tiles'].sum()} tiles of {tiled['tissue'].mean():.0%} tissue")

    mdata = ist.read({"slide": folder / "features", "rna": rna}, obs=obs)
    train, valid, test = ist.split(mdata, (0.5, 0.2, 0.3), stratify="tumour", seed=0)
    fitted = ist.fit(
        ist.VAE(latent=6, beta=0.1, pooling="attention"),
        train, valid,
        prepare={"slide": ["standardise"], "rna": ["standardise"]},
        heads={"tumour": {"kind": "class"}},
        training=ist.Training(epochs=epochs, seed=0),
    )  # fmt: skip
    fitted.save(folder / "model")

    positive = test.obs["tumour"] == "yes"
    joint = roc_auc_score(positive, fitted.predict(test)["tumour/yes"])
    rows = {"joint, attention": joint}
    for name in ("slide", "rna"):  # baselines: logistic regression on the means of bags, and on genes
        tables = [part[name].to_df().reindex(part.obs_names) for part in (train, test)]
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(tables[0], train.obs["tumour"] == "yes")
        rows[f"{name} alone, logistic"] = roc_auc_score(positive, plain.predict_proba(tables[1])[:, 1])
    print("AUC on test: " + ", ".join(f"{k} {v:.3f}" for k, v in rows.items()))

    found = fitted.attention(test, "slide")
    places = found[["sample", "x", "y"]].itertuples(index=False)
    found["tumour"] = [truth[s][y : y + TILE, x : x + TILE].mean() > 0.5 for s, x, y in places]
    slides_of = [of for _, of in found.groupby("sample") if of["tumour"].any()]
    ranked = [roc_auc_score(of["tumour"], of["attention"]) for of in slides_of]
    print(f"attention tells tumour from other tiles within {len(ranked)} slides of test: AUC {np.mean(ranked):.3f}")
    name = slides_of[0]["sample"].iloc[0]
    where = f"--tiles {folder / 'features'} --model {folder / 'model'} --out {folder / name}.png"
    print(f"next: isthmus slides heatmap {folder / 'slides' / name}.tif {where}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "isthmus-slides"))
