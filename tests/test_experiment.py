"""From a recipe to a run folder."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from cohorts import linear
from isthmus.errors import RecipeError
from isthmus.evaluating_keys import Evaluate, Robustness
from isthmus.experiment import run
from isthmus.recipe import load_recipe, parse_recipe
from isthmus.yaml_text import load_yaml

KEYS = {
    "prepare": {"rna": [{"top_variance": 20}, "standardise"]},
    "model": {"name": "vae", "latent": 3, "hidden": [16]},
    "training": {"epochs": 8, "batch_size": 32, "seed": 3},
    "evaluate": {"embedding": {"labels": ["kind"], "learners": ["logistic"], "baselines": ["pca", "random_features"]}},
}
FILES = ["recipe.yaml", "embedding.h5ad", "metrics.json", "history.csv", "report.html", "log.txt"]


@pytest.fixture(scope="module")
def cohort():
    return linear(n=120, missing=0.03, absent=15)


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """The cohort as csv files, and a recipe beside them."""
    place = tmp_path_factory.mktemp("cohort")
    ist.write(cohort, place / "tables")
    ist.write(cohort, place / "cohort.h5mu")
    return place


def recipe(folder, **data):
    read = {m: str(folder / "tables" / f"{m}.csv") for m in ("rna", "cnv")}
    return parse_recipe(
        {
            "data": {"read": read, "obs": str(folder / "tables" / "obs.csv"), "split": {"stratify": "kind"}, **data},
            **KEYS,
        }
    )


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    run(recipe(folder), out)
    return out


def test_the_folder_is_as_documented(done):
    for name in FILES:
        assert (done / name).is_file(), name
    assert sorted(p.name for p in (done / "model").iterdir()) == [
        "manifest.json", "model.json", "prepare.safetensors", "weights.safetensors",
    ]  # fmt: skip
    assert {"split.csv", "benchmark.csv", "reconstruction.csv"} <= {p.name for p in (done / "tables").iterdir()}
    assert (done / "figures" / "loss.svg").is_file()
    assert not list(done.parent.glob(".first*"))


def test_metrics_are_flat_and_named(done):
    metrics = json.loads((done / "metrics.json").read_text())
    for name in (
        "reconstruction/test/r2/rna",
        "embedding/test/auc/kind/logistic",
        "embedding/test/auc/kind/logistic/lower",
    ):
        assert name in metrics
        assert name.startswith("embedding") is False or f"baseline/pca/{name}" in metrics
    assert all(isinstance(v, int | float | None.__class__) for v in metrics.values())
    assert metrics["embedding/test/auc/kind/logistic"] > 0.8
    assert metrics["baseline/mean/reconstruction/test/r2/rna"] == pytest.approx(0, abs=1e-6)


def test_metrics_are_what_the_saved_model_gives(done, cohort):
    """The numbers can be had again from the model directory and the split alone."""
    metrics = json.loads((done / "metrics.json").read_text())
    fitted = ist.load(done / "model")
    parts = pd.read_csv(done / "tables" / "split.csv", dtype=str).set_index("sample")["split"]
    train, test = (cohort[cohort.obs_names.isin(parts.index[parts == p])].copy() for p in ("train", "test"))
    rna = test.mod["rna"].to_df()[fitted.features("rna")].to_numpy()
    x_hat = fitted.reconstruct(test).mod["rna"].to_df().loc[test.mod["rna"].obs_names].to_numpy()
    reference = train.mod["rna"].to_df()[fitted.features("rna")].mean().to_numpy()
    found = ist.evaluate.reconstruction(rna, x_hat, reference=reference)
    assert metrics["reconstruction/test/r2_original/rna"] == pytest.approx(found["r2"], abs=1e-4)


def test_the_embedding_holds_every_sample_and_its_split(done, cohort):
    z = ad.read_h5ad(done / "embedding.h5ad")
    assert set(z.obs_names) == set(cohort.obs_names)
    assert z.obs["split"].value_counts().to_dict() == {"train": 72, "valid": 24, "test": 24}
    np.testing.assert_array_equal(z.X, ist.load(done / "model").embed(cohort)[z.obs_names].X)


def test_same_recipe_same_bytes(done, folder, tmp_path):
    run(recipe(folder), tmp_path / "again")
    for name in (
        "metrics.json",
        "model/weights.safetensors",
        "model/prepare.safetensors",
        "history.csv",
        "recipe.yaml",
    ):
        assert (tmp_path / "again" / name).read_bytes() == (done / name).read_bytes(), name


def test_the_resolved_recipe_and_the_saved_split_run_again(done, tmp_path):
    tree = load_yaml((done / "recipe.yaml").read_text(), "recipe.yaml")
    tree["data"]["split"] = {"file": str(done / "tables" / "split.csv")}
    run(parse_recipe(tree), tmp_path / "again")
    assert (tmp_path / "again" / "metrics.json").read_bytes() == (done / "metrics.json").read_bytes()


def test_python_and_yaml_give_the_same_result(done, folder):
    mdata = ist.read({m: folder / "tables" / f"{m}.csv" for m in ("rna", "cnv")}, obs=folder / "tables" / "obs.csv")
    train, valid, test = ist.split(mdata, (0.6, 0.2, 0.2), stratify="kind", seed=0)
    fitted = ist.fit(
        ist.VAE(latent=3, hidden=(16,)), train, valid, prepare=KEYS["prepare"],
        training=ist.Training(epochs=8, batch_size=32, seed=3),
    )  # fmt: skip
    saved = ist.load(done / "model")
    np.testing.assert_array_equal(fitted.embed(test).X, saved.embed(test).X)
    assert fitted.history.equals(saved.history)
    assert fitted.recipe == saved.recipe


@pytest.mark.parametrize("kind", ["parquet", "h5ad", "tsv.gz", "h5mu"])
def test_the_file_format_does_not_matter(kind, done, cohort, folder, tmp_path):
    read = str(folder / "cohort.h5mu")
    if kind != "h5mu":
        read = {m: str(ist.write(a, tmp_path / f"{m}.{kind}")) for m, a in cohort.mod.items()}
    run(recipe(folder, read=read), tmp_path / "run")
    assert (tmp_path / "run/model/weights.safetensors").read_bytes() == (
        done / "model/weights.safetensors"
    ).read_bytes()
    assert (tmp_path / "run/metrics.json").read_bytes() == (done / "metrics.json").read_bytes()


def test_folds_give_spread_and_a_model_of_all_samples(folder, tmp_path):
    run(recipe(folder, split={"folds": 3, "stratify": "kind"}), tmp_path / "folds")
    metrics = json.loads((tmp_path / "folds" / "metrics.json").read_text())
    for name in ("reconstruction/test/r2/rna/sd", "embedding/test/auc/kind/logistic/sd"):
        assert metrics[name] > 0
    z = ad.read_h5ad(tmp_path / "folds" / "embedding.h5ad")
    assert z.obs["fold"].value_counts().to_dict() == {"fold0": 40, "fold1": 40, "fold2": 40}
    model = json.loads((tmp_path / "folds" / "model" / "model.json").read_text())
    assert model["spec"]["n_train"] == 120 - 12


def test_a_label_without_signal_is_not_praised(cohort, folder, tmp_path):
    obs = cohort.obs.copy()
    obs["kind"] = np.random.default_rng(0).permutation(obs["kind"].astype(str))
    ist.write(obs, tmp_path / "obs.csv")
    run(recipe(folder, obs=str(tmp_path / "obs.csv"), split={"folds": 4}), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert abs(metrics["embedding/test/auc/kind/logistic"] - 0.5) < 0.2
    assert metrics["embedding/test/auc/kind/logistic/lower"] < 0.5 < metrics["embedding/test/auc/kind/logistic/upper"]


def test_overrides_and_relative_paths(folder):
    file = folder / "recipe.yaml"
    file.write_text(
        "data:\n  read: {rna: tables/rna.csv}\n  obs: ${NOT_SET_ANYWHERE:-tables}/obs.csv\nmodel: {name: vae}\n"
    )
    found = load_recipe(file, ["model.latent=5", "training.lr=1e-2", "prepare.rna=[log1p, {clip: {low: -2, high: 2}}]"])
    assert found.model.latent == 5
    assert found.training.lr == 0.01
    assert found.prepare["rna"] == ["log1p", {"clip": {"low": -2.0, "high": 2.0}}]
    assert found.data.read["rna"].path == str(folder / "tables" / "rna.csv")
    assert found.data.obs.path == str(folder / "tables" / "obs.csv")


def test_the_skeleton_of_every_architecture_is_a_recipe():
    from isthmus import registry
    from isthmus.skeleton import skeleton

    for name in registry.names():
        found = parse_recipe(load_yaml(skeleton(name), name))
        assert found.model == registry.settings(name)()
        assert found.training == ist.Training()


def test_every_part_of_the_evaluation_is_measured_unless_left_out(done, folder, tmp_path):
    metrics = json.loads((done / "metrics.json").read_text())
    for name in (
        "translation/test/r2/rna->cnv",
        "baseline/ridge/translation/test/r2/cnv->rna",
        "translation/test/auc/kind/rna->cnv",
        "latent/test/total_correlation",
        "alignment/test/foscttm/rna-cnv",
        "subset/test/r2/rna",
    ):
        assert name in metrics, name
    assert {"translation.csv", "alignment.csv", "subsets.csv"} <= {p.name for p in (done / "tables").iterdir()}
    page = (done / "report.html").read_text()
    assert "rna → cnv" in page
    assert "translates rna to cnv" in page
    parts = ("embedding", "reconstruction", "translation", "latent", "alignment")
    off = recipe(folder).model_copy(update={"evaluate": Evaluate(**dict.fromkeys(parts))})
    again = parse_recipe(load_yaml(off.text(), "off"))
    assert again.evaluate == off.evaluate
    run(again, tmp_path / "off")
    assert json.loads((tmp_path / "off" / "metrics.json").read_text()) == {}
    assert "asks for no evaluation of the reconstruction" in (tmp_path / "off" / "report.html").read_text()


def test_robustness_is_measured_where_it_is_asked_for(folder, tmp_path):
    asked = recipe(folder).evaluate.model_copy(update={"embedding": None, "robustness": Robustness(refits=2)})
    run(recipe(folder).model_copy(update={"evaluate": asked}), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0.3 < metrics["robustness/test/cka"] < 1


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"confounders": {"columns": ["sites"]}}, "confounders.columns"),
        ({"evaluate": {"confounding": {"columns": ["sites"]}}}, "evaluate.confounding.columns"),
    ],
)
def test_a_confounder_that_is_no_column_is_named_by_the_key_it_stands_under(sections, key, folder, tmp_path):
    tree = load_yaml(recipe(folder).text(), "recipe") | sections
    with pytest.raises(RecipeError, match=f"^{key}: no such column in obs; met 'sites'"):
        run(parse_recipe(tree), tmp_path / "run")


@pytest.mark.parametrize(
    ("translation", "hint"),
    [({"pairs": [["rna", "cvn"]]}, "cnv"), ({"label": "knid"}, "kind"), ({"pairs": [["rna", "rna"]]}, "")],
)
def test_a_wrong_pair_or_label_is_named_before_anything_is_fitted(translation, hint, folder, tmp_path):
    tree = load_yaml(recipe(folder).text(), "recipe")
    tree["evaluate"]["translation"] = translation

    def refused():
        run(parse_recipe(tree), tmp_path / "run")

    with pytest.raises(RecipeError, match=hint or "both 'rna'"):
        refused()
    assert not list(tmp_path.iterdir())
