"""Attacks find what is there to be found, nothing where nothing is, and an audit of a run says so."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from cohorts import linear
from isthmus import Autoencoder, fit, split
from isthmus.data.cohort import take_samples
from isthmus.errors import DataError, ModelError, RecipeError
from isthmus.experiment import run
from isthmus.recipe import parse_recipe
from isthmus.share.attack import halves, likelihood_ratio, matched, roc, scored, tpr_at
from isthmus.share.attack_attributes import attributes, inferable
from isthmus.share.attack_features import features
from isthmus.share.audit_losses import losses
from isthmus.share.audit_run import audit_run, subject
from isthmus.share.auditing import audit
from isthmus.training.settings import Training

NOISY = {"n": 120, "widths": (("rna", 60),), "noise": 1.0}


def parts(**keys):
    return split(linear(**{**NOISY, **keys}), (0.5, 0.5), seed=0)


def fitted(train, epochs, lr=3e-3):
    settings = Training(epochs=epochs, batch_size=30, lr=lr, patience=None)
    return fit(Autoencoder(latent=12, hidden=(48,), dropout=0.0), train, training=settings)


def test_scores_are_those_of_scikit_learn_and_their_intervals_hold_them():
    rng = np.random.default_rng(0)
    member = rng.random(200) < 0.4
    score = np.round(rng.normal(size=200) + member, 1)
    found = scored(member, score, resamples=200)
    assert found.auc[0] == pytest.approx(roc_auc_score(member, score))
    fpr, tpr, _ = roc_curve(member, score, drop_intermediate=False)
    assert found.tpr[0] == pytest.approx(tpr[fpr <= 0.01].max())
    ours = roc(member, score)
    np.testing.assert_allclose([ours.fpr, ours.tpr], [fpr, tpr])
    assert found.auc[1] < found.auc[0] < found.auc[2]


def test_the_rate_at_few_false_alarms_counts_whom_nobody_outscores():
    member = np.array([True] * 4 + [False] * 4)
    score = np.array([9.0, 8.0, 3.0, 1.0, 5.0, 4.0, 2.0, 0.0])
    assert tpr_at(member, score, np.ones((1, 8)))[0] == 0.5
    assert scored(np.array([member, ~member]), np.array([score, score]), resamples=9).auc[0] == pytest.approx(0.5)


def test_halves_have_every_sample_in_every_other_refit_and_keep_groups_together():
    has = halves(41, 6, 0)
    assert has.shape == (6, 41)
    assert (has.sum(axis=0) == 3).all()
    groups = np.repeat(np.arange(10), 4)
    by = halves(40, 6, 1, groups)
    assert all(len(np.unique(row[groups == g])) == 1 for row in by for g in range(10))


def test_the_likelihood_ratio_is_the_textbook_one():
    """One part of the loss, one spread a side: the ratio of two normal densities of the centred logarithms."""
    rng = np.random.default_rng(0)
    member = halves(30, 8, 0)
    refits = np.exp(rng.normal(size=(8, 30, 1)) - 2.0 * member[:, :, None])
    target = np.exp(rng.normal(size=(30, 1)) * 0.1)
    score = likelihood_ratio(target, refits, member)
    logs, own = (
        np.log(refits) - np.log(refits).mean(axis=1, keepdims=True),
        np.log(target)[:, 0] - np.log(target).mean(),
    )
    m = [np.array([logs[s[:, i], i, 0].mean() for i in range(30)]) for s in (member, ~member)]
    s = [np.sqrt(np.mean([logs[of[:, i], i, 0].var(ddof=1) for i in range(30)])) for of in (member, ~member)]
    own = np.clip(own, np.minimum(*m) - s[0], np.maximum(*m) + s[1])
    expected = norm.logpdf(own, m[0], s[0]) - norm.logpdf(own, m[1], s[1])
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_losses_are_the_squared_errors_of_what_is_observed():
    mdata = linear(n=40, missing=0.1, absent=8)
    model = fitted(mdata, 3)
    found = losses(model, mdata)
    x = np.asarray(mdata.mod["rna"].X)
    prepared = model.preparation.transform(mdata)["rna"].x
    expected = np.nanmean((model.means(mdata)["rna"] - prepared) ** 2, axis=1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)
    assert np.isnan(found[:8, 1]).all()
    assert np.isfinite(found[8:]).all()
    assert np.isnan(x).any()


def test_a_head_adds_the_cross_entropy_of_its_answer():
    mdata = linear(n=40)
    model = fit(Autoencoder(latent=3, hidden=(8,)), mdata, heads={"kind": {"kind": "class"}},
                training=Training(epochs=2, patience=None))  # fmt: skip
    mdata.obs["kind"] = mdata.obs["kind"].where(np.arange(40) > 4)
    found = losses(model, mdata)
    said, labels = model.predict(mdata), mdata.obs["kind"]
    expected = [np.nan if pd.isna(c) else -np.log(said[f"kind/{c}"].iloc[i]) for i, c in enumerate(labels)]
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-6)


def test_an_overfitted_model_is_told_and_an_untrained_one_is_not():
    train, other = parts()
    overfitted = audit(fitted(train, 90), train, other, refits=4).to_dict()
    assert overfitted["auc"] > 0.8
    assert overfitted["auc_lower"] > 0.7
    untrained = audit(fitted(train, 1, lr=1e-9), train, other, refits=4)
    assert (untrained.membership["auc"] - 0.5).abs().max() < 0.13
    assert untrained.worst["auc_lower"] < 0.5 < untrained.worst["auc_upper"]
    assert json.loads(json.dumps(overfitted, allow_nan=False)) == overfitted


def test_a_model_that_has_seen_all_is_attacked_by_its_recipe_and_the_same_seed_gives_the_same():
    mdata = linear(**NOISY)
    model = fitted(mdata, 40)
    found = audit(model, mdata, refits=4)
    assert set(found.membership["target"]) == {"its recipe"}
    assert found.worst["auc"] > 0.7
    assert found.to_dict() == audit(model, mdata, refits=4).to_dict()
    with pytest.raises(RecipeError, match="has seen every sample"):
        audit(model, mdata, refits=0)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"refits": 3}, RecipeError, "pairs of halves"),
        ({"train": None}, RecipeError, "train: is missing"),
        ({"few": True}, DataError, "too few samples"),
        ({"same": True}, DataError, "samples are in train and held out"),
    ],
)
def test_what_cannot_be_attacked_is_said_in_a_line(change, kind, text):
    train, other = parts()
    model = fitted(train, 1)
    if change.pop("few", False):
        train, other = (take_samples(p, p.obs_names[:8]) for p in (train, other))
    if change.pop("same", False):
        other = train
    arguments = {"train": train, "held_out": other, "refits": 0, **change}
    with pytest.raises(kind, match=text):
        audit(model, arguments.pop("train"), arguments.pop("held_out"), **arguments)


def test_annotations_are_told_by_what_holds_them_and_by_nothing_else():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 200)
    obs = pd.DataFrame({"kind": np.array(["a", "b"])[kind], "twin": kind.astype(str), "coin": rng.integers(0, 2, 200),
                        "age": rng.normal(size=200), "id": [f"p{i}" for i in range(200)]})  # fmt: skip
    assert inferable(obs) == ["kind", "twin", "coin", "age"]
    z, noise = np.column_stack([kind + 0.1 * rng.normal(size=200)]), rng.normal(size=(200, 3))
    half = slice(100), slice(100, 200)
    sides = [tuple(x[s] for s in half) for x in (z, noise)]
    found = attributes(*sides, (obs[:100], obs[100:]), columns=inferable(obs), resamples=100).set_index("annotation")
    assert found.loc["kind", "embedding"] > 0.99
    assert found.loc["kind", "other annotations"] > 0.99
    assert found.loc["kind", "data"] < 0.7
    assert found.loc["coin", ["embedding", "other annotations"]].between(0.3, 0.7).all()
    assert found.loc["age", "metric"] == "r2"
    assert found.loc["age", "embedding"] < 0.1


def test_features_are_found_again_as_far_as_their_statistics_differ():
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(30, 2))
    order = rng.permutation(30)
    np.testing.assert_array_equal(matched(statistics, statistics[order]), np.argsort(order))
    mdata = linear(n=200, widths=(("far", 12), ("same", 40)))
    mdata.mod["far"].X = mdata.mod["far"].X + 100 * np.arange(12, dtype=np.float32)
    mdata.mod["same"].X = np.random.default_rng(1).normal(size=(200, 40)).astype(np.float32)
    prepare = {"far": ["standardise"], "same": ["standardise"]}
    found = features(mdata, prepare, ["far", "same"]).set_index("modality")
    assert found.loc["far", "matched"] == 1.0
    assert found.loc["same", "matched"] < 0.15
    assert found.loc["same", "chance"] == 1 / 40
    nothing = features(mdata, {"far": [], "same": []}, ["far", "same"])
    assert nothing["matched"].isna().all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("audit")
    cohort = linear(**NOISY)
    pd.DataFrame(cohort.mod["rna"].X, cohort.obs_names, cohort.mod["rna"].var_names).to_csv(place / "rna.csv")
    cohort.obs.to_csv(place / "obs.csv")
    recipe = {
        "data": {"read": {"rna": "rna.csv"}, "obs": "obs.csv", "split": {"fractions": [0.5, 0.5]}},
        "model": {"name": "autoencoder", "latent": 12, "hidden": [48], "dropout": 0.0},
        "training": {"epochs": 80, "batch_size": 30, "lr": 3e-3, "patience": None}, "evaluate": {"embedding": None},
    }  # fmt: skip
    run(parse_recipe(recipe, root=place), place / "run")
    return place


def test_an_audit_of_a_run_leaves_its_findings(folder):
    report, page = audit_run(folder / "run", folder / "found", refits=4)
    left = json.loads((folder / "found" / "audit.json").read_text(encoding="utf-8"))
    assert left == report.to_dict()
    assert left["auc"] > 0.7
    assert {"tpr_at_fpr_01", "tpr_at_fpr_01_lower", "auc_lower", "auc_upper"} <= set(left)
    text = page.read_text(encoding="utf-8")
    assert f"AUC {left['auc']:.2f}" in text
    assert {p.name for p in (folder / "found" / "figures").iterdir()} == {"roc.svg", "scores.svg", "attributes.svg"}
    again = subject(folder / "run")
    assert again.train.n_obs == again.held_out.n_obs == 60
    with pytest.raises(RecipeError, match="exists"):
        audit_run(folder / "run", folder / "found", refits=0)


def test_an_audit_needs_the_data_of_the_run(folder):
    with pytest.raises(ModelError, match="is not a run folder"):
        audit(folder)
    table = pd.read_csv(folder / "rna.csv", index_col=0)
    (folder / "rna.csv").rename(folder / "gone.csv")
    with pytest.raises(DataError, match="data of this run cannot be read again"):
        audit(folder / "run", refits=0)
    table.iloc[:100].to_csv(folder / "rna.csv")
    pd.read_csv(folder / "obs.csv", index_col=0).iloc[:100].to_csv(folder / "obs.csv")
    with pytest.raises(DataError, match="not those that the run was fitted on"):
        audit(folder / "run", refits=0)
