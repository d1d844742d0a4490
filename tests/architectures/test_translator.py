"""On linear data it reaches ridge; it reads the source alone; the embedding is shaped by the target alone."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

import isthmus as ist
from cohorts import linear, prepared
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.data.cohort import build
from isthmus.errors import RecipeError
from isthmus.types import Modality, Spec

QUICK = ist.Training(epochs=10, lr=5e-3, patience=None)
SMALL = {"latent": 3, "hidden": (16,), "dropout": 0.0}


@pytest.fixture(scope="module")
def cohort():
    return linear(n=300, widths=[("a", 40), ("b", 30)], d=4, noise=0.5)


def r2(found, truth, train):
    return 1 - ((found - truth) ** 2).sum() / ((truth - train.mean(0)) ** 2).sum()


def short_of_ridge(cohort, keys, training):
    """By how much R2 on the last hundred samples falls short of ridge regression's."""
    train, test = cohort[:200].copy(), cohort[200:].copy()
    x, y = train.mod["a"].X, train.mod["b"].X
    ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(x, y).predict(test.mod["a"].X)
    found = ist.fit(ist.Translator(**keys), train, training=training).translate(test, "a", "b").X
    return r2(ridge, test.mod["b"].X, y) - r2(found, test.mod["b"].X, y)


@pytest.mark.parametrize(("keys", "short"), [({"hidden": ()}, 0.01), ({"hidden": (64,), "norm": "none"}, 0.03)])
def test_reaches_ridge_on_linear_data(cohort, keys, short):
    training = ist.Training(epochs=250, lr=5e-3, schedule="cosine", patience=None)
    assert short_of_ridge(cohort, {"latent": 4, "dropout": 0.0, "linear": False, **keys}, training) < short


def test_as_it_comes_it_falls_hardly_short_of_ridge_and_far_without_its_linear_maps(cohort):
    training = ist.Training(epochs=150)
    assert short_of_ridge(cohort, {}, training) < 0.03
    assert short_of_ridge(cohort, {"linear": False}, training) > 0.1


@torch.no_grad()
def test_linear_maps_say_nothing_at_the_start():
    spec = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
    module = registry.get("translator")(registry.config_of("translator")(**SMALL), spec).eval()
    batch = samples(prepared(linear(n=40)), spec).batch(torch.arange(40))
    before = module(batch).x_hat["cnv"].mean
    module.bypass = None
    for decoder in module.decoders:
        decoder.bypass = None
    assert torch.equal(module(batch).x_hat["cnv"].mean, before)


def test_target_rows_shuffled_in_training_leave_nothing_to_learn(cohort):
    train, test = cohort[:200].copy(), cohort[200:].copy()
    y = train.mod["b"].X.copy()
    train.mod["b"].X = y[np.random.default_rng(0).permutation(200)]
    fitted = ist.fit(ist.Translator(latent=4, hidden=()), train, training=ist.Training(epochs=60, patience=None))
    assert r2(fitted.translate(test, "a", "b").X, test.mod["b"].X, y) < 0.05


def test_only_the_source_is_encoded_and_samples_without_it_have_no_embedding(cohort):
    mdata = linear(n=120, widths=[("a", 20), ("b", 12)], absent=30)
    fitted = ist.fit(ist.Translator(source="b", target="a", **SMALL), mdata, training=QUICK)
    z = fitted.embed(mdata)
    assert (np.isnan(z.X).all(1) == ~z.obs_names.isin(mdata.mod["b"].obs_names)).all()
    np.testing.assert_allclose(np.nanmean(z.X, 0), fitted.moments["mean"], atol=1e-5)
    for call in (lambda: fitted.embed(mdata, source="a"), lambda: fitted.translate(mdata, "a", "b")):
        with pytest.raises(RecipeError, match="does not encode it; met 'a'; wanted b"):
            call()


def test_the_target_and_other_modalities_do_not_reach_the_embedding():
    """Values of the target do not enter it, and what a third modality holds does not shape it in training."""
    mdata = linear(n=120, widths=[("a", 20), ("b", 12), ("c", 8)])
    other = mdata.copy()
    other.mod["c"].X = other.mod["c"].X[::-1].copy()
    one, two = (
        ist.fit(ist.Translator(source="a", target="b", **SMALL), data, training=QUICK) for data in (mdata, other)
    )
    np.testing.assert_array_equal(one.embed(mdata).X, two.embed(mdata).X)
    np.testing.assert_array_equal(one.embed(mdata).X, one.embed(build({"a": mdata.mod["a"]}, mdata.obs)).X)
    weights = [f.module.state_dict() for f in (one, two)]
    assert torch.equal(*(w["decoders.1.head.linear.weight"] for w in weights))
    assert not torch.equal(*(w["decoders.2.head.linear.weight"] for w in weights))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "aa"}, r"model\.source: no such modality; met 'aa'(.|\n)*did you mean 'a'"),
        ({"target": "protein"}, r"model\.target: no such modality(.|\n)*known: 'a', 'b'"),
        ({"source": "a", "target": "a"}, r"model\.target: is the source, too"),
    ],
)
def test_wrong_ends_are_told(keys, message, cohort):
    with pytest.raises(RecipeError, match=message):
        ist.fit(ist.Translator(**keys), cohort, training=QUICK)


def test_ends_not_given_are_found(cohort):
    ends = [
        (f.module.source, f.module.target)
        for keys in ({}, {"source": "b"}, {"target": "a"})
        for f in [ist.fit(ist.Translator(**SMALL, **keys), cohort, training=ist.Training(epochs=2, patience=None))]
    ]
    assert ends == [("a", "b"), ("b", "a"), ("b", "a")]
