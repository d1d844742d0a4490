"""What users met: sparse cohorts that lack samples, folds without intervals, draws of nothing, mixed targets."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import isthmus as ist
from cohorts import linear
from isthmus.data.cohort import build
from isthmus.errors import DataError, RecipeError
from isthmus.impute.benchmark import Scored, benchmark
from isthmus.impute.choice import Choice
from isthmus.impute.filling import fit_filler
from isthmus.impute.imputer import make
from isthmus.impute.intervals import pooled, rubin
from isthmus.impute.saved import load_imputer, save_imputer
from isthmus.impute.tasks import tasks
from isthmus.imputing.fold import Fold, _keep
from isthmus.imputing.recipe import parse_impute_recipe
from isthmus.imputing.run import impute
from isthmus.imputing.study import Study
from isthmus.imputing.words import _covered
from isthmus.report.impute import _sure

SMALL = {"data": {"simulate": {"n": 40, "modalities": {"rna": 8, "protein": 6}, "missing": {"rna": 0.1}, "seed": 1}}}


def test_a_sparse_modality_is_filled_for_samples_that_lack_it_as_a_dense_one_is():
    mdata = linear(n=60, missing=0.0, absent=15)
    thin = ad.AnnData(sp.csr_matrix(mdata.mod["cnv"].X), mdata.mod["cnv"].obs, mdata.mod["cnv"].var)
    sparse = build({"rna": mdata.mod["rna"], "cnv": thin}, mdata.obs)
    found = [fit_filler(m, "cnv", methods="ridge").transform(m) for m in (mdata, sparse)]
    absent = ~mdata.obs_names.isin(mdata.mod["cnv"].obs_names)
    assert absent.sum() == 15
    assert (found[1].layers["imputed"][absent] == 1).all()
    for layer in (None, "lower", "upper", "imputed"):
        np.testing.assert_allclose(found[1].to_df(layer), found[0].to_df(layer), rtol=1e-5, atol=1e-6)


def test_coverage_of_a_feature_leaves_out_folds_without_intervals():
    (task,) = tasks(linear(n=80), "cnv", folds=2, only=0)
    found, filled = Fold(), np.zeros(task.truth.shape)
    for errors in (np.full((40, task.truth.shape[1]), 9.0), np.zeros((0, task.truth.shape[1]))):
        got = Scored({}, make("mean")[1], filled, task.hidden, errors)
        _keep(found, task, got, {"kind": "modality", "method": "mean"}, 0.9)
    assert (found.features[0]["coverage"] == 1).all()
    assert found.features[1]["coverage"].isna().all(), "no interval is not an interval that missed"


def test_hidden_values_of_a_feature_are_counted_over_folds(tmp_path):
    found = impute(
        {**SMALL, "impute": {"methods": ["mean"], "patterns": ["random"], "rates": [0.2]}}, tmp_path / "run", workers=0
    )
    features = pd.read_csv(tmp_path / "run" / "tables" / "features-rna-entries.csv")
    assert features["n"].sum() == found.scores["n_entries"].sum()


def test_draws_without_residuals_are_refused_and_not_all_the_same(tmp_path, caplog):
    mdata = linear(n=60, absent=10)
    filler = fit_filler(mdata, "cnv", methods="ridge")
    assert filler.draws(mdata, 2).std(axis=0).max() > 0
    save_imputer({"cnv": filler}, tmp_path / "imputer")
    with pytest.raises(DataError, match=r"has no residuals to draw from.*\n.*saved imputer holds none"):
        load_imputer(tmp_path / "imputer")["cnv"].draws(mdata, 2)
    with pytest.raises(DataError, match="no number of draws"):
        filler.draws(mdata, 0)
    few = {"simulate": {**SMALL["data"]["simulate"], "n": 20}, "split": {"folds": 2}}
    found = impute(
        {"data": few, "impute": {"methods": ["mean"], "patterns": ["gaps"], "draws": 3}}, tmp_path / "run", workers=0
    )
    assert found.report.is_file()
    assert not (tmp_path / "run" / "tables" / "pooled-rna.csv").exists()
    assert "nothing is pooled: rna, entries: has no residuals" in caplog.text


def test_calls_are_returned_of_the_modality_that_holds_them_and_the_other_stays(tmp_path):
    mdata = linear(n=60, widths=(("rna", 8), ("cnv", 6)), missing=0.1)
    mdata.mod["cnv"].X = np.clip(np.round(mdata.mod["cnv"].X), -2, 2)
    ist.write(mdata, tmp_path / "cohort.h5mu")
    keys = {"methods": ["ridge"], "patterns": ["gaps"], "calls": True}
    data = {"read": str(tmp_path / "cohort.h5mu"), "split": {"folds": 2}}
    found = impute({"data": data, "impute": keys}, tmp_path / "run", workers=0).mdata
    assert set(np.unique(found.mod["cnv"].X)) == {-2, -1, 0, 1, 2}
    gaps = found.mod["rna"].layers["imputed"] == 1
    assert (found.mod["rna"].X[gaps] % 1 != 0).all()
    with pytest.raises(RecipeError, match="holds no calls"):
        impute({"data": data, "impute": {**keys, "target": "rna"}}, tmp_path / "none", workers=0)


@pytest.mark.parametrize("target", [[], ["rna", "rna"]])
def test_targets_are_named_once(target):
    with pytest.raises(RecipeError, match="names none, or one twice"):
        parse_impute_recipe({**SMALL, "impute": {"target": target}})


def test_steps_of_a_target_that_cannot_be_undone_are_told():
    mdata = linear(n=30)
    mdata.mod["cnv"].X = np.clip(np.round(mdata.mod["cnv"].X), 0, 2)
    with pytest.raises(RecipeError, match="makes several features of one"):
        benchmark(mdata, "cnv", methods=["mean"], folds=2, prepare={"cnv": ["one_hot"]})


def test_levels_outside_their_range_and_methods_with_nothing_to_read_are_refused():
    mdata = linear(n=30, missing=0.1)
    with pytest.raises(RecipeError, match="level: is no level; met 90"):
        fit_filler(mdata, "cnv", methods="mean", level=90.0)
    with pytest.raises(RecipeError, match="intervals: is no level; met 90"):
        benchmark(mdata, "cnv", methods=["mean"], intervals=90.0)
    with pytest.raises(RecipeError, match="methods: names no method"):
        benchmark(mdata, "cnv", methods=[])
    with pytest.raises(RecipeError, match="class_mean: has nothing to read"):
        fit_filler(mdata, "cnv", methods="class_mean")
    with pytest.raises(DataError, match="is no level"):
        rubin(np.ones(3), np.ones(3), level=95.0)


def test_one_estimate_may_be_a_number():
    draws = np.random.default_rng(0).normal(size=(4, 20, 3))
    one = pooled(draws, ["a"], estimate=lambda t: (t.mean(), t.var() / t.size)).iloc[0]
    want = rubin(draws.mean(axis=(1, 2)), draws.var(axis=(1, 2)) / 60)
    assert (one["estimate"], one["standard_error"]) == (want.estimate, want.standard_error)


def test_a_target_of_one_feature_has_a_report_and_untried_intervals_are_said(tmp_path):
    data = {"simulate": {**SMALL["data"]["simulate"], "n": 30, "modalities": {"rna": 8, "protein": 1}}}
    keys = {"methods": ["mean", "ridge", "knn"], "target": "protein", "patterns": ["modality"]}
    found = impute({"data": {**data, "split": {"folds": 2}}, "impute": keys}, tmp_path / "run", workers=0)
    assert (tmp_path / "run" / "figures" / "pca-protein-modality.svg").is_file()
    assert "too few training samples to set any aside" in found.verdict[0]


# ---- what users hand over


@pytest.mark.parametrize("named", ["cohort", "modalities"])
def test_samples_whose_index_has_a_name_somewhere_are_taken_and_keep_it(named):
    mdata, plain = (ist.simulate(n=40, modalities={"a": 12, "b": 8}, seed=3) for _ in range(2))
    frames = [mdata.obs] if named == "cohort" else [x.obs for x in mdata.mod.values()]
    for obs in frames:
        obs.index.name = "patient"
    found = [ist.impute.benchmark(m, "b", methods=["ridge"], folds=2, intervals=None) for m in (mdata, plain)]
    assert found[0]["mse"].tolist() == found[1]["mse"].tolist()
    assert [obs.index.name for obs in frames] == ["patient"] * len(frames)


def test_one_table_is_a_cohort_of_one_modality():
    mdata = ist.simulate(n=40, modalities={"a": 12}, seed=3)
    keys = {"methods": ["mean"], "pattern": "random", "folds": 2, "intervals": None}
    tables = (mdata, mdata.mod["a"], mdata.mod["a"].to_df())
    assert len({tuple(ist.impute.benchmark(x, "a", **keys)["mse"]) for x in tables}) == 1
    filled = [ist.impute.fit_filler(x, "a", methods="mean").transform(x).X for x in tables]
    np.testing.assert_array_equal(filled[0], filled[1])
    np.testing.assert_array_equal(filled[0], filled[2])


def test_an_option_that_there_is_none_of_is_named():
    mdata = ist.simulate(n=20, modalities={"a": 6, "b": 4}, seed=3)
    with pytest.raises(RecipeError, match="did you mean 'rate'"):
        ist.impute.benchmark(mdata, "b", rates=0.1)
    with pytest.raises(RecipeError, match="did you mean 'level'"):
        ist.impute.fit_filler(mdata, "b", methods="mean", levels=0.9)


def test_a_sample_without_a_class_gets_the_overall_mean():
    mdata = ist.simulate(n=40, modalities={"a": 12, "b": 8}, classes=2, seed=3)
    obs = mdata.obs.astype({"class": object})
    obs.loc[obs.index[:6], "class"] = None
    mdata.obs = obs
    x = mdata.mod["b"].X
    x[:3] = np.nan
    filled = ist.impute.fit_filler(mdata, "b", methods="class_mean", classes="class").transform(mdata)
    np.testing.assert_allclose(filled.X[:3], np.broadcast_to(np.nanmean(x, axis=0), (3, 8)), rtol=1e-5)
    assert not np.allclose(filled.X[0], np.nanmean(x[obs["class"].isna().to_numpy()], axis=0), rtol=1e-3)


@pytest.mark.parametrize(("n", "said"), [(1, "cannot be said of 1 hidden value."), (20, "held 100.0 % of 20 hidden")])
def test_how_much_intervals_hold_is_not_said_of_a_handful_of_values(n, said):
    rows = [{"pattern": "gaps", "method": "mean", "coverage": 1.0, "n_entries": n}]
    choice = Choice("mean", "mean", pd.DataFrame(rows), 1)
    assert said in _covered(Study("rna", scores=pd.DataFrame(rows), choices={"entries": choice}), "entries", 0.9)
    features = pd.DataFrame([{"kind": "entries", "method": "mean", "feature": "a", "n": n, "coverage": 1.0}])
    held = pd.DataFrame([{"kind": "entries", "method": "mean", "nominal": 0.9, "actual": 1.0}])
    part = {"target": "rna", "choices": {"entries": choice.table}, "chosen": {"entries": "mean"}}
    assert bool(_sure(part | {"calibration": held, "features": features}, 0.9).blocks) is (n == 20)
