"""The benchmark's guards: alignment, equal inputs, no dependence on order, intervals that cover."""

import mudata as md
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from isthmus.errors import DataError, RecipeError
from isthmus.impute.benchmark import benchmark, tasks
from isthmus.impute.calls import as_calls, call_scores, levels_of
from isthmus.impute.imputer import make
from isthmus.impute.intervals import half_widths, multiple, residuals, rubin

CHEAP = ["mean", "ridge", "component_ridge", "knn", "low_rank", "pls"]


def cis(n=200, seed=0):
    """Copy number drives expression of the same genes."""
    mdata = ist.simulate(n=n, modalities={"rna": 60, "cnv": 40}, shared=4, seed=seed)
    rng = np.random.default_rng(seed)
    cnv = np.repeat(rng.normal(size=(n, 10)), 4, axis=1) + 0.3 * rng.normal(size=(n, 40))
    rna = rng.normal(size=(n, 60))
    rna[:, :40] += cnv
    mdata.mod["cnv"].X, mdata.mod["rna"].X = cnv.astype(np.float32), rna.astype(np.float32)
    return mdata


def means(frame, column="r2"):
    return frame.groupby("method")[column].mean()


@pytest.fixture(scope="module")
def whole():
    return benchmark(cis(), "cnv", methods=CHEAP, folds=3)


def test_ridge_beats_the_mean_on_cis_data(whole):
    r2 = means(whole)
    assert abs(r2["mean"]) < 0.1
    assert r2["ridge"] > 0.4
    assert r2["component_ridge"] > 0.4
    assert r2["ridge"] > r2["knn"]


def test_all_methods_saw_the_same(whole):
    assert (whole.groupby("fold")["inputs"].nunique() == 1).all()
    assert whole["inputs"].nunique() == 3


def test_shuffled_rows_of_the_target_teach_nothing():
    mdata = cis()
    cnv = mdata.mod["cnv"]
    shuffled = cnv[np.random.default_rng(5).permutation(cnv.n_obs)].copy()
    shuffled.obs_names = cnv.obs_names
    wrong = md.MuData({"rna": mdata.mod["rna"], "cnv": shuffled})
    r2 = means(benchmark(wrong, "cnv", methods=CHEAP, folds=3, intervals=None))
    assert (r2 <= 0.01).all(), r2


@pytest.mark.parametrize("pattern", ["modality", "random"])
def test_numbers_do_not_depend_on_the_order_of_samples(pattern):
    mdata = cis(n=90)
    turned = md.MuData({m: a[np.random.default_rng(1).permutation(a.n_obs)].copy() for m, a in mdata.mod.items()})
    a, b = (
        benchmark(m, "cnv", methods=["ridge", "knn", "low_rank"], pattern=pattern, folds=3).drop(columns="seconds")
        for m in (mdata, turned)
    )
    pd.testing.assert_frame_equal(a, b)


def test_r2_is_over_all_hidden_values_and_that_of_features_stands_beside_it():
    mdata = cis(n=90)
    keys = {"pattern": "random", "rate": 0.2, "folds": 2}
    task = next(tasks(mdata, "cnv", **keys))
    row = benchmark(mdata, "cnv", methods=["ridge"], intervals=None, **keys).iloc[0]
    filled = make("ridge")[1].fit(task.train, **task.given(0)).transform(task.test, **task.given(1))
    off = np.where(task.hidden, task.truth - filled, 0) ** 2
    rest = np.where(task.hidden, task.truth - np.nanmean(task.train, axis=0), 0) ** 2
    assert row["r2"] == pytest.approx(1 - off.sum() / rest.sum())
    assert row["r2_feature"] == pytest.approx(np.mean(1 - off.sum(axis=0) / rest.sum(axis=0)))
    assert abs(row["r2"] - row["r2_feature"]) > 0.01


def test_hidden_values_reach_no_method():
    mdata = cis(n=90)
    before = list(tasks(mdata, "cnv", pattern="random", rate=0.2, folds=3))
    hidden = ist.impute.mask(mdata, "cnv", pattern="random", rate=0.2)
    x = mdata.mod["cnv"].X.copy()
    x[hidden.loc[mdata.mod["cnv"].obs_names].to_numpy()] = 999
    mdata.mod["cnv"].X = x
    after = list(tasks(mdata, "cnv", pattern="random", rate=0.2, folds=3))
    assert [t.digest() for t in before] == [t.digest() for t in after]


@pytest.mark.parametrize("pattern", ["modality", "random", "feature"])
def test_intervals_cover_nine_in_ten(pattern):
    found = benchmark(cis(n=400), "cnv", methods=["ridge", "mean"], pattern=pattern, rate=0.2, folds=4)
    assert means(found, "coverage").between(0.88, 0.92).all(), means(found, "coverage")
    assert means(found, "width")["ridge"] < means(found, "width")["mean"]


def test_calls_of_discrete_targets():
    mdata = cis(n=120)
    mdata.mod["cnv"].X = np.clip(np.round(mdata.mod["cnv"].X), -2, 2).astype(np.float32)
    found = benchmark(mdata, "cnv", methods=["mean", "ridge"], folds=3, intervals=None)
    accuracy = means(found, "balanced_accuracy")
    assert accuracy["ridge"] > accuracy["mean"] + 0.1
    assert means(found, "ordinal_error")["ridge"] < means(found, "ordinal_error")["mean"]
    assert levels_of(np.array([0.5, 1])) is None
    levels = levels_of(np.array([-2.0, 0.0, 1.0, np.nan]))
    np.testing.assert_array_equal(as_calls(np.array([-9.0, -0.9, 0.4, 0.6, np.nan]), levels), [-2, 0, 0, 1, np.nan])
    assert call_scores(np.array([-2.0, 0, 1]), np.array([-2.0, 0, 0]), levels) == {
        "balanced_accuracy": pytest.approx(2 / 3), "ordinal_error": pytest.approx(1 / 3)
    }  # fmt: skip


def test_half_widths_are_the_conformal_rank():
    errors = np.arange(1.0, 100).reshape(-1, 1) * np.array([[1.0, -2.0]])
    np.testing.assert_array_equal(half_widths(errors, 0.9), [90.0, 180.0])
    few = np.full((3, 1), 1.0)
    assert np.isnan(half_widths(few, 0.9)).all()
    assert np.isnan(half_widths(np.zeros((0, 2)), 0.9)).all()
    errors[5:, 1] = np.nan  # a feature with five errors takes the rank of all 104 together: ceil(105 * .9) = 95
    together = np.sort(np.abs(errors[~np.isnan(errors)]))
    np.testing.assert_array_equal(half_widths(errors, 0.9), [90.0, together[94]])


def test_a_value_that_is_hidden_in_several_rounds_counts_once():
    x = np.random.default_rng(0).normal(size=(40, 3))

    def first(v, rng):
        return np.broadcast_to(np.array([True, False, False]), v.shape) & (np.arange(len(v)) < 4)[:, None]

    errors = residuals(make("mean")[1], x, first)
    np.testing.assert_array_equal((~np.isnan(errors)).sum(axis=0), [4, 0, 0])


def test_rubin_against_the_textbook():
    pooled = rubin(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.5, 0.5]))
    total = 0.5 + (1 + 1 / 3) * 1.0
    assert pooled.estimate == 2.0
    assert pooled.standard_error == pytest.approx(np.sqrt(total))
    assert pooled.df == pytest.approx(2 / ((4 / 3) / total) ** 2)
    assert rubin(np.array([1.0, 1.0]), np.array([0.25, 0.25])).missing_information == 0
    with pytest.raises(DataError, match="at least two"):
        rubin(np.array([1.0]), np.array([1.0]))


def test_draws_carry_the_uncertainty_that_a_single_fill_hides():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3))
    gaps = np.random.default_rng((1, 9)).random(x.shape) < 0.4
    shown = np.where(gaps, np.nan, x)
    method = make("mean")[1]
    errors = residuals(method, shown, lambda v, r: r.random(v.shape) < 0.4)
    filled = method.fit_transform(shown)
    draws = multiple(shown, filled, errors, 20)
    np.testing.assert_array_equal(draws[:, ~gaps], np.broadcast_to(x[~gaps], (20, (~gaps).sum())))
    assert filled.var(axis=0).mean() < 0.7
    assert abs(draws.var(axis=1).mean() - 1) < 0.1
    pooled = rubin(draws[:, :, 0].mean(axis=1), draws[:, :, 0].var(axis=1, ddof=1) / 2000)
    assert pooled.lower < 0 < pooled.upper
    assert pooled.standard_error > 1 / np.sqrt(2000)


def test_wrong_arguments():
    mdata = cis(n=60)
    with pytest.raises(RecipeError, match="'cnv'"):
        benchmark(mdata, "cnvv")
    mdata.mod["cnv"].X = np.full(mdata.mod["cnv"].shape, np.nan, dtype=np.float32)
    with pytest.raises(DataError, match="cnv: no training sample has"):
        benchmark(mdata, "cnv", methods=["mean"], pattern="random", folds=2)
    with pytest.raises(RecipeError, match="no such column"):
        benchmark(mdata, "cnv", classes="clas")
    with pytest.raises(DataError, match="no other modality"):
        benchmark(md.MuData({"cnv": mdata.mod["cnv"]}), "cnv")
