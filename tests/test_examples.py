"""Every recipe of `examples/` runs, shortened. `test_house.py` checks what they say and runs the quickstart."""

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from isthmus import experiment, registry
from isthmus.associate import pools
from isthmus.associating import run as associating
from isthmus.associating.recipe import load_associate_recipe
from isthmus.imputing import run as imputing
from isthmus.imputing.recipe import load_impute_recipe
from isthmus.recipe import load_recipe

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.yaml"))
RECIPES = [p for p in EXAMPLES if not p.stem.startswith(("impute_", "associate_"))]
CHEAP = ("evaluate.embedding.learners=[logistic]", "evaluate.embedding.baselines=[pca]")
FEWER = {
    "few_samples": ("data.simulate.modalities={genes: 4000, metabolites: 400}", "data.split.folds=2"),
    "confounders_stemcells": ("data.split.folds=2", "evaluate.confounding={uncontrolled: false, folds: 2}"),
}
FEWER |= {"share_brca": ("evaluate.latent=null", "evaluate.alignment=null")}
FEWER |= {"survival_luad": ("data.split.folds=2",)}
WHOLE = ("evaluate.translation=null", "evaluate.alignment=null", "evaluate.latent=null")
FEWER |= {
    "joint_her2st": ("model.turns=false", "model.channels=4", *WHOLE),
    "modality_rows": ("data.split.folds=2", *WHOLE),
}
FEWER |= {"acc_mosaic": ("data.split.folds=2",)}
SAMPLES = {"pancan12": 2421, "brca": 956, "citeseq": 5484, "acc_mosaic": 92, "simulated": 400}


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_an_example_runs(path, request, tmp_path):
    epochs = 2 * len(registry.get(registry.name_of(load_recipe(path).model)).phases)
    cheap = () if load_recipe(path).evaluate.embedding is None else CHEAP
    recipe = load_recipe(path, [*cheap, *FEWER.get(path.stem, ()), f"training.epochs={epochs}"])
    if recipe.data.read is not None:
        request.getfixturevalue("real_data")
    report = experiment.run(recipe, tmp_path / "run")
    run = report.parent

    z = ad.read_h5ad(run / "embedding.h5ad")
    assert z.n_obs == SAMPLES.get(path.stem, z.n_obs)
    assert np.isfinite(z.X).all()

    history = pd.read_csv(run / "history.csv")
    assert len(history) == epochs
    modalities = recipe.likelihood | recipe.prepare
    terms = [f"train/recon/{m}" for m in modalities]
    rows = [history[t].dropna() for t in terms]
    assert sum(r.iloc[-1] for r in rows) < sum(r.iloc[0] for r in rows)  # it learns

    scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for label in recipe.evaluate.embedding.labels if cheap else ():
        for prefix in ("", "baseline/pca/"):
            name = f"{prefix}embedding/test/{{}}/{label}/logistic"
            value = scores.get(name.format("auc"), scores.get(name.format("r2")))
            assert value is not None
            assert value <= 1
    for modality in modalities:
        assert scores[f"baseline/mean/reconstruction/test/r2/{modality}"] == pytest.approx(0, abs=1e-9)
        assert np.isfinite(scores[f"reconstruction/test/r2/{modality}"])
    assert re.search(r"PCA (is ahead of|reconstructs)|ahead of PCA|better than PCA", report.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_quick_imputation_fills_every_gap(tmp_path):
    path = next(p for p in EXAMPLES if p.stem == "impute_quick")
    few = ["impute.methods=[mean, ridge, low_rank]", "impute.patterns=[gaps, modality]", "data.split.folds=2"]
    found = imputing.impute(load_impute_recipe(path, few), tmp_path / "run", workers=0)
    assert found.chosen["rna"]["entries"] == "low_rank"
    assert found.chosen["protein"]["modality"] != "mean"
    for name in ("rna", "protein"):
        assert np.isfinite(found.mdata.mod[name].X).all()
    assert re.search(r"R² 0\.[4-9]", found.report.read_text(encoding="utf-8"))


ACCEPTED = {
    "associate_quick": (18_000, (10, 16), 5_000), "associate_nutrimouse": (2_520, (0, 0), 150),
    "associate_nci60": (354_760, (0, 0), 0), "associate_covid": (205_660, (15_000, 20_000), 45_000),
    "associate_microbiome": (123_084, (900, 1_300), 2_500),
}  # fmt: skip
"""Pairs tested; bounds of those accepted with groups taken out; at least so many as the samples stand."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ACCEPTED)
def test_an_example_of_association_runs(name, request, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "FEW_DRAWS", 5_000_000)
    path = next(p for p in EXAMPLES if p.stem == name)
    short = ["associate.stability=null", "associate.views=[pca]", "associate.scatter=2", "associate.network=500"]
    recipe = load_associate_recipe(path, short)
    if recipe.base.data.read is not None:
        request.getfixturevalue("real_data")
    found = associating.associate(recipe, tmp_path / "run")
    tested, (low, high), naive = ACCEPTED[name]
    assert found.hits.n_tests == tested
    assert low <= found.hits.n_hits <= high
    assert found.marginal.n_hits >= naive
    assert found.verdict[0].startswith("Minimum detectable effect")
