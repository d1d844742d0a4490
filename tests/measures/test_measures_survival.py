"""Survival heads measured on test samples: what predict says, judged beside ridge Cox regression."""

import numpy as np
import pytest

import isthmus as ist
from isthmus import measures
from isthmus.evaluate.survival import concordance
from isthmus.evaluating_keys import Survival
from isthmus.measures.survival import outcomes

HEADS = {
    "os": {"kind": "cox", "time": "time", "event": "event", "strata": "sex"},
    "dfs": {"kind": "discrete", "time": "time", "censoring": "censored", "bins": 5},
    "class": {"kind": "class"},
}
KEYS = Survival(clinical=("age", "sex"), resamples=20)


@pytest.fixture(scope="module")
def cohort():
    mdata = ist.simulate(n=240, modalities={"rna": 40}, shared=3, classes=2, seed=0)
    mdata.obs["censored"] = 1 - mdata.obs["event"]
    train, test = ist.split(mdata, (0.6, 0.4), seed=0)
    fitted = ist.fit(ist.VAE(latent=3, hidden=(16,)), train, heads=HEADS, training=ist.Training(epochs=8, seed=0))
    return fitted, {"train": train, "test": test}


def test_what_predict_says_is_judged_beside_baselines(cohort):
    fitted, parts = cohort
    found = outcomes(fitted, parts, KEYS)
    assert list(found) == ["os", "dfs"]
    assert list(found["os"].risks) == ["VAE", "pca", "clinical"]
    np.testing.assert_array_equal(found["os"].test, found["dfs"].test)  # censoring is turned round
    judged = measures.survival_found([found], KEYS, model="VAE")
    flat = measures.survival_flat(judged, model="VAE")
    said, obs = fitted.predict(parts["test"]), parts["test"].obs
    for head, strata in (("os", obs["sex"]), ("dfs", None)):
        expected = concordance(obs["time"], obs["event"], said[f"{head}/log_risk"], strata=strata)
        assert flat[f"survival/test/harrell/{head}"] == pytest.approx(expected)
        assert f"baseline/clinical/survival/test/harrell/{head}" in flat
        gap = expected - flat[f"baseline/pca/survival/test/harrell/{head}"]
        assert flat[f"survival/test/harrell/{head}/difference/pca"] == pytest.approx(gap)
        assert flat[f"survival/test/nested_p/{head}"] <= 1
    assert all(value is None or np.isfinite(value) for value in flat.values())
    assert measures.time_columns(fitted) == {"os": "time", "dfs": "time"}


def test_hazards_of_intervals_are_the_curves_that_predict_gives(cohort):
    fitted, parts = cohort
    fold = outcomes(fitted, parts, KEYS)["dfs"]
    said = fitted.predict(parts["test"])
    edges = np.array([float(c.split("/")[-1]) for c in said if c.startswith("dfs/survival/")])
    curves = fold.survival("VAE", fold.predicted["VAE"][0])
    np.testing.assert_allclose(curves, said.filter(regex="^dfs/survival/"), atol=1e-12)
    np.testing.assert_allclose(fold.predicted["VAE"][0], edges, rtol=1e-5)


def test_folds_with_other_classes_are_judged_together(cohort):
    fitted, parts = cohort
    fewer = parts["train"][parts["train"].obs["sex"].astype(str) != "M"].copy()
    folds = [outcomes(fitted, p, KEYS) for p in (parts, {"train": fewer, "test": parts["train"]})]
    judged = measures.survival_found(folds, KEYS, model="VAE")
    assert judged["os"].folds == 2
    assert judged["os"].n == sum(p.n_obs for p in parts.values())
    assert "VAE" in judged["os"].nested


def test_what_is_not_asked_for_or_cannot_be_measured_is_left_out(cohort, caplog):
    fitted, parts = cohort
    assert outcomes(fitted, parts, None) == {}
    assert outcomes(fitted, {"train": parts["train"]}, KEYS) == {}
    censored = parts["test"].copy()
    censored.obs["event"] = 0
    censored.obs["censored"] = 1
    found = outcomes(fitted, {**parts, "test": censored}, KEYS)
    caplog.set_level("WARNING")
    assert measures.survival_found([found], KEYS, model="VAE") == {}
    assert "no event among the test samples" in caplog.text
