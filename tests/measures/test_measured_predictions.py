"""What a run measures of heads, and the command that predicts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

import isthmus as ist
from cohorts import linear
from isthmus.cli import main
from isthmus.config import validate
from isthmus.evaluating_keys import Prediction
from isthmus.measures.predictions import predicted
from isthmus.recipe import parse_recipe
from isthmus.report.predictions import prediction_words, predictions_section
from isthmus.tuning.space import changed

HEADS = {"kind": {"kind": "class"}, "level": {"kind": "value"}}


@pytest.fixture(scope="module")
def measured():
    mdata = linear(n=120)
    mdata.obs = mdata.obs.assign(level=mdata.uns["factors"][:, 1])
    names = mdata.obs_names
    parts = {"train": mdata[names[:80]].copy(), "test": mdata[names[80:]].copy()}
    parts["test"].obs.loc[names[85], "level"] = np.nan
    model = ist.Autoencoder(latent=3, hidden=(16,))
    fitted = ist.fit(model, parts["train"], heads=HEADS, training=ist.Training(epochs=15, lr=5e-3, patience=None))
    return fitted, parts, predicted(fitted, parts, Prediction(resamples=50))


def test_heads_are_scored_beside_linear_predictions(measured):
    fitted, parts, found = measured
    said, obs = fitted.predict(parts["test"]), parts["test"].obs
    own = found[found["representation"] == "Autoencoder"].set_index(["head", "metric"])["value"]
    assert own["kind", "auc"] == pytest.approx(roc_auc_score(obs["kind"] == "high", said["kind/high"]))
    known = obs["level"].notna()
    assert own["level", "r2"] == pytest.approx(r2_score(obs["level"][known], said["level"][known]))
    assert set(found["representation"]) == {"Autoencoder", "pca", "raw"}
    assert set(found.loc[found["head"] == "level", "n"]) == {39}
    rows = found[found["metric"].isin(["auc", "r2"])]
    assert (rows["lower"] <= rows["value"]).all()
    assert (rows["value"] <= rows["upper"]).all()
    assert predicted(fitted, parts, None).empty


def test_a_baseline_that_is_ahead_is_named_first(measured):
    found = measured[2].copy()
    shown = predictions_section(found, model="Autoencoder").blocks[0].excerpt
    assert list(shown) == ["head", "predicted by", "score", "interval", "the model minus it", "samples"]  # what fits
    assert list(shown["head"][:3]) == ["kind (AUC)"] * 3
    assert list(shown["predicted by"][:3]) == ["Autoencoder", "linear on PCA", "linear on all features"]
    ahead = found["head"].eq("kind") & found["metric"].eq("auc")
    found.loc[ahead, "value"] = np.where(found.loc[ahead, "representation"] == "raw", 0.99, 0.7)
    words = prediction_words(found, model="Autoencoder")
    assert words[0].startswith("Prediction (kind): a baseline is as good or better: 0.990 by all features")
    assert predictions_section(pd.DataFrame(), model="x").blocks == ()


def test_apply_predicts(measured, tmp_path):
    fitted, parts, _ = measured
    fitted.save(tmp_path / "model")
    ist.write(parts["test"], tmp_path / "new.h5mu")
    arguments = ["apply", str(tmp_path / "model"), str(tmp_path / "new.h5mu"), "--task", "predict"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "said.csv")])
    assert stop.value.code in (0, None)
    found = pd.read_csv(tmp_path / "said.csv", index_col=0)
    pd.testing.assert_frame_equal(found, fitted.predict(parts["test"]), check_names=False, check_dtype=False)


def test_keys_of_heads_and_confounders_can_be_varied():
    tree = {"data": {"simulate": {"n": 40}}, "model": {"name": "vae"}}
    recipe = parse_recipe({**tree, "heads": HEADS, "confounders": {"columns": "site"}})
    made = changed(recipe, {"heads.kind.weight": 0.5, "confounders.method": "hsic", "confounders.weight": 3.0})
    assert (made.heads["kind"].weight, made.heads["level"].weight) == (0.5, recipe.heads["level"].weight)
    assert made.confounders.method == ("hsic",)
    assert made.confounders.weighs("hsic") == 3
    assert validate(type(made.confounders), {"columns": ["site"]}, where="c").weighs("hsic") == 10
    assert "heads:" in made.text()
    assert "heads:" not in parse_recipe(tree).text()
