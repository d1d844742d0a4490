"""A run that looks for confounders: what a fitted model's embedding holds of them, said in report and metrics."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from isthmus import experiment
from isthmus.data.cohort import take_samples
from isthmus.errors import RecipeError
from isthmus.measures import Suspects, confounded, confounded_flat, summary_of
from isthmus.recipe import parse_recipe

QUICK = {"epochs": 40, "lr": 5e-3, "seed": 0}
SITES = {"n": 130, "modalities": {"rna": 30}, "sites": 2, "private": 0, "site_effect": 1.0, "pathways": 0, "seed": 3}


@pytest.fixture(scope="module")
def cohort():
    mdata = ist.simulate(**SITES)
    parts = {"train": mdata.obs_names[:80], "test": mdata.obs_names[80:]}
    return {name: take_samples(mdata, ids) for name, ids in parts.items()}


@pytest.fixture(scope="module")
def model(cohort):
    return ist.fit(ist.VAE(latent=3, hidden=(32,)), cohort["train"], training=ist.Training(**QUICK))


@pytest.fixture(scope="module")
def found(model, cohort):
    asked = Suspects(["site"], ["class"], folds=2)
    return summary_of([confounded(model, cohort, asked)], asked)


def auc(found, who, learner, fitted="train"):
    rows = found.found.query("representation == @who and learner == @learner and fitted == @fitted and metric == 'auc'")
    return rows["mean"].item()


def test_a_site_that_shifts_the_values_is_found_unless_it_was_regressed_out(found):
    assert auc(found, "VAE", "linear") > 0.9
    assert auc(found, "VAE", "linear", "test") > 0.9
    assert auc(found, "raw", "linear") == pytest.approx(1)
    assert auc(found, "pca_without", "linear") < 0.65
    assert auc(found, "pca_without", "forest") < 0.75
    mixed = found.mixing.set_index("representation")["mixing"]
    assert mixed["pca_without"] > mixed["raw"]


def test_probes_of_train_are_those_of_evaluate_on_the_embeddings(model, cohort, found):
    z = {k: np.asarray(model.embed(m).X, dtype=float) for k, m in cohort.items()}
    table = ist.evaluate.probe(
        {"VAE": z["train"]}, {"VAE": z["test"]}, cohort["train"].obs[["site"]], cohort["test"].obs[["site"]],
        learners=["logistic"],
    )  # fmt: skip
    assert auc(found, "VAE", "linear") == table.query("metric == 'auc'")["value"].item()


def test_labels_are_read_across_sites_and_within_them(found):
    value = found.labels.set_index(["representation", "way"])["value"]
    assert value["pca_without", "across"] > value["pca", "across"] - 0.05
    assert set(found.labels["way"]) == {"mixed", "within", "across"}


def test_names_in_metrics_are_flat_and_those_of_others_have_a_prefix(found):
    flat = confounded_flat(found, model="VAE")
    assert flat["confounding/test/auc/site/linear"] == auc(found, "VAE", "linear")
    assert flat["confounding/test/auc/site/forest/fresh"] == auc(found, "VAE", "forest", "test")
    assert flat["baseline/pca/confounding/test/auc/site/linear/lower"] <= flat[
        "baseline/pca/confounding/test/auc/site/linear"]  # fmt: skip
    across = found.labels.query("representation == 'VAE' and way == 'across'")["value"].item()
    assert flat["confounding/test/balanced_accuracy/class/site/across"] == across
    sizes = found.partial.query("representation == 'VAE' and of == 'site'")["correlation"]
    assert flat["confounding/test/partial/site|class"] == pytest.approx(np.sqrt((sizes**2).mean()))
    assert 0 <= flat["confounding/test/mixing/site"] <= 1
    assert confounded_flat(None, model="VAE") == {}


def test_over_folds_scores_are_means_and_a_site_left_out_is_still_scored(model, cohort):
    """Train and test share no site: the probe of the site has nothing to learn, the label's is that of a new site."""
    both = {k: cohort["train"][cohort["train"].obs["site"] == s].copy() for k, s in (("a", "site_0"), ("b", "site_1"))}
    asked = Suspects(["site"], ["class"], folds=2)
    folds = [confounded(model, {"train": both[x], "test": both[y]}, asked) for x, y in (("a", "b"), ("b", "a"))]
    found = summary_of(folds, asked)
    assert found.found.empty
    each = [f.labels.query("representation == 'VAE' and way == 'across'")["value"].item() for f in folds]
    across = found.labels.query("representation == 'VAE' and way == 'across'")["value"].item()
    assert across == pytest.approx(np.mean(each))


def test_a_patient_of_the_site_left_out_is_not_trained_on(model, cohort, monkeypatch):
    """Every patient of test is in train, too, at the other site: nobody is left to learn from across sites."""
    parts = {k: cohort["train"].copy() for k in ("train", "test")}
    for k, m in parts.items():
        m.obs["who"] = [f"p{i}" for i in range(m.n_obs)]
        m.obs["clinic"] = np.roll(np.arange(m.n_obs) % 2, k == "test").astype(str)
    for name in ("isthmus.evaluate.confounding", "isthmus.measures.confounding"):
        monkeypatch.setattr(sys.modules[name], "PROBES", ("logistic",))
    for group, known in ((None, True), ("who", False)):
        found = confounded(model, parts, Suspects(["clinic"], ["class"], folds=2, group=group)).labels
        assert found.query("way == 'across'")["value"].notna().all() == known


def test_numbers_that_stand_for_classes_are_classes(model, cohort):
    coded = {k: m.copy() for k, m in cohort.items()}
    for m in coded.values():
        m.obs["code"] = (np.arange(m.n_obs) % 11).astype(float)
    asked = Suspects(["code"], classes=["code"], folds=2)
    assert set(confounded(model, coded, asked).probes.table()["metric"]) >= {"auc"}
    asked = Suspects(["code"], folds=2)
    assert set(confounded(model, coded, asked).probes.table()["metric"]) == {"r2"}


TREE = {
    "data": {"simulate": SITES, "split": {"fractions": [0.6, 0.4]}},
    "model": {"name": "vae", "latent": 3, "hidden": [32]},
    "training": {"epochs": 12, "lr": 5e-3, "seed": 0},
    "evaluate": {
        "embedding": {"labels": ["class"], "learners": ["logistic"], "baselines": ["pca"]},
        "translation": None, "alignment": None, "latent": None, "disentanglement": None,
    },
}  # fmt: skip


def test_a_run_shows_them_whenever_the_recipe_names_confounders(tmp_path):
    control = {"confounders": {"columns": ["site"], "method": "residualise"}}
    beside = {"evaluate": {**TREE["evaluate"], "confounding": {"uncontrolled": True, "folds": 2}}}
    report = experiment.run(parse_recipe({**TREE, **control, **beside}), tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    ours = scores["confounding/test/auc/site/linear"]
    assert ours < 0.7 < 0.9 < scores["baseline/uncontrolled/confounding/test/auc/site/linear"]
    assert scores["baseline/raw/confounding/test/auc/site/linear"] > 0.95  # before control, not after
    text = report.read_text(encoding="utf-8")
    assert "Fresh probes, a linear one and a random forest" in text
    assert "uncontrolled model" in text
    for name in ("confounder_probes", "sites", "partial_correlations", "confounder_mixing"):
        assert len(pd.read_csv(tmp_path / "run" / "tables" / f"{name}.csv"))


def test_without_confounders_none_is_looked_for_and_a_wrong_name_is_told(tmp_path):
    recipe = parse_recipe(TREE)
    assert experiment._suspects(recipe, experiment.cohort(recipe), ["class"]) is None
    assert summary_of([], None) is None
    for key, name in (("columns", "sites"), ("labels", "klass")):
        asked = {"confounding": {"columns": ["site"], key: [name]}}
        with pytest.raises(RecipeError, match=rf"(?s)evaluate.confounding.{key}.*{name}"):
            experiment.run(parse_recipe({**TREE, "evaluate": {**TREE["evaluate"], **asked}}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
