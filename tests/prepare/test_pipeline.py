"""Steps in a row, all modalities together, new samples, sparse tables, and what is saved."""

import json
import logging

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import scipy.sparse as sp

from isthmus.data.table import Table
from isthmus.errors import DataError, ModelError, RecipeError
from isthmus.prepare import Pipeline, Preparation, checks

RECIPE = ["normalise_total", "log1p", {"top_variance": 6}, "standardise", {"clip": {"low": -2, "high": 3}}]


def counts(seed=0, n=30, f=10):
    return np.random.default_rng(seed).poisson(np.linspace(0.3, 6, f), size=(n, f)).astype(np.float32)


def table(x, features=None, present=None):
    named = pd.Index([f"g{i}" for i in range(x.shape[1])], dtype=object) if features is None else features
    return Table(x, named, np.ones(x.shape[0], dtype=bool) if present is None else present)


def cohort(seed=0, *, only=None):
    """RNA counts (CSR) of S00..S29 and proteins of S10..S39."""
    names = [f"S{i:02d}" for i in range(40)]
    rna = ad.AnnData(sp.csr_matrix(counts(seed)), obs=pd.DataFrame(index=names[:30]))
    protein = ad.AnnData(counts(seed + 1, f=4), obs=pd.DataFrame(index=names[10:]))
    rna.var_names, protein.var_names = [f"g{i}" for i in range(10)], [f"p{i}" for i in range(4)]
    both = {"rna": rna, "protein": protein}
    with md.set_options(pull_on_update=False):
        return md.MuData({k: v for k, v in both.items() if only is None or k in only})


def test_steps_apply_in_order():
    x = counts()
    totals = x.sum(axis=1, keepdims=True)
    logs = np.log1p(x / totals * np.median(totals))
    keep = np.sort(np.argsort(-logs.var(axis=0))[:6])
    wanted = np.clip((logs[:, keep] - logs[:, keep].mean(axis=0)) / logs[:, keep].std(axis=0), -2, 3)
    for given in (x, sp.csr_matrix(x)):
        pipeline = Pipeline(RECIPE).fit(table(given), "rna")
        prepared = pipeline.transform(table(given))
        np.testing.assert_allclose(prepared.rows(np.arange(30)), wanted, rtol=1e-4, atol=1e-5)
        assert list(prepared.features) == [f"g{i}" for i in keep]
        assert prepared.dense is isinstance(given, np.ndarray)
        assert (prepared.low, prepared.high) == ((None, None) if prepared.dense else (-2.0, 3.0))


def test_the_inverse_runs_through_filters():
    x = counts().astype(np.float64)
    pipeline = Pipeline(["log1p", {"top_variance": 6}, "standardise", {"mad": 4}, "minmax"])
    pipeline.fit(table(x))
    back = pipeline.inverse(pipeline.transform(table(x)).x)
    np.testing.assert_allclose(back, x[:, [int(g[1:]) for g in pipeline.features_inverse_]], rtol=1e-9, atol=1e-9)
    assert len(pipeline.features_inverse_) == back.shape[1] < 6
    with pytest.raises(ModelError, match="wrong width"):
        pipeline.inverse(x)


def test_a_report_says_what_each_step_did(caplog):
    caplog.set_level(logging.INFO, "isthmus")
    pipeline = Pipeline(["log1p", {"top_variance": 6}]).fit(table(counts()), "rna")
    assert pipeline.report_ == [
        {"step": "log1p", "before": 10, "after": 10, "message": ""},
        {"step": "top_variance", "before": 10, "after": 6, "message": "dropped 4 of 10 features"},
    ]
    assert "rna: top_variance, 10 -> 6 features" in caplog.text


@pytest.mark.parametrize("thin", [False, True])
def test_missing_features_are_unobserved_and_unknown_ones_left_out(thin, caplog):
    x = counts()
    pipeline = Pipeline(["log1p", {"top_variance": 6}, "standardise"]).fit(table(x), "rna")
    whole = pipeline.transform(table(x))
    lost = list(whole.features[:2])
    columns = [i for i in range(9, -1, -1) if f"g{i}" not in lost]
    some = np.hstack([x[:, columns], np.ones((30, 3), np.float32)])
    names = pd.Index([f"g{i}" for i in columns] + ["a", "b", "c"], dtype=object)
    caplog.set_level(logging.INFO, "isthmus")
    prepared = pipeline.transform(table(sp.csr_matrix(some) if thin else some, names))
    assert prepared.dense is not thin
    out = prepared.rows(np.arange(30))
    assert np.isnan(out[:, :2]).all()
    np.testing.assert_allclose(out[:, 2:], whole.x[:, 2:], rtol=1e-5, atol=1e-6)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "2 of 10 features are missing and count as unobserved, 2 of them in use" in warnings[0]
    assert "left out 3 features" in caplog.text


def test_no_feature_in_common_is_an_error_with_examples():
    pipeline = Pipeline(["log1p"]).fit(table(counts()), "rna")
    other = pd.Index([f"ENSG{i}" for i in range(10)], dtype=object)
    with pytest.raises(DataError, match="rna: no feature in common") as e:
        pipeline.transform(table(counts(), other))
    assert "'ENSG0', 'ENSG1', 'ENSG2' and 7 more" in str(e.value).replace('"', "")
    assert "'g0', 'g1', 'g2' and 7 more" in str(e.value)


def test_features_written_otherwise_are_told_and_those_that_no_step_keeps_do_not_count(caplog):
    pipeline = Pipeline(["log1p", {"top_variance": 6}]).fit(table(counts()), "rna")
    unused = next(i for i in range(10) if f"g{i}" not in set(pipeline.features_inverse_))
    loud = [f"G{i}" for i in range(10)]
    with pytest.raises(DataError, match="'G0' and 'g0' look alike: write features in the same way everywhere"):
        pipeline.transform(table(counts(), pd.Index(loud, dtype=object)))
    with pytest.raises(DataError, match="training samples, of those in use"):
        pipeline.transform(table(counts(), pd.Index([f"g{i}" if i == unused else n for i, n in enumerate(loud)])))
    used = pipeline.features_inverse_[0]
    pipeline.transform(table(counts(), pd.Index([used if n.lower() == used else n for n in loud], dtype=object)))
    assert "are missing and count as unobserved, 5 of them in use" in caplog.text
    assert "look alike: write features in the same way everywhere" in caplog.text


def test_training_reads_present_rows_alone():
    x, present = counts(), np.arange(30) < 20
    x[20:] = 1e6
    one = Pipeline(RECIPE).fit(table(x, present=present)).get_state()[0]
    two = Pipeline(RECIPE).fit(table(x[:20])).get_state()[0]
    assert all(np.array_equal(one[k], two[k]) for k in two)
    with pytest.raises(DataError, match="no training sample"):
        Pipeline(RECIPE).fit(table(x, present=np.zeros(30, dtype=bool)), "rna")
    with pytest.raises(DataError, match="occurs twice"):
        Pipeline(RECIPE).fit(table(x, pd.Index(["g"] * 10)), "rna")


def test_absent_rows_of_a_sparse_table_are_missing_after_a_shift():
    x, present = counts(), np.arange(30) != 4
    x[4] = 0
    pipeline = Pipeline(["standardise"]).fit(table(sp.csr_matrix(x), present=present))
    rows = pipeline.transform(table(sp.csr_matrix(x), present=present)).rows(np.array([4, 5]))
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()


def test_steps_after_centring_a_sparse_table_are_refused():
    x = sp.csr_matrix(counts())
    for steps in (["standardise", {"top_variance": 3}], ["log1p", "standardise", "robust"]):
        with pytest.raises(RecipeError, match="put centring steps last"):
            Pipeline(steps).fit(table(x), "rna")
    dense = Pipeline(["standardise", {"top_variance": 3}]).fit(table(x.toarray()), "rna")
    assert len(dense.features_out_) == 3


@pytest.mark.parametrize("bounds", [(1, 2), (-3, -1), (-1, 1), (None, 2), (1, None)])
def test_clipping_a_sparse_table_is_clipping_a_dense_one(bounds):
    x = counts()
    clip = {"clip": {"low": bounds[0], "high": bounds[1]}}
    for steps in ([clip], ["standardise", clip], [{"standardise": 1.5}, clip, {"clip": {"low": -1, "high": 4}}]):
        thin = Pipeline(steps).fit(table(sp.csr_matrix(x))).transform(table(sp.csr_matrix(x)))
        dense = Pipeline(steps).fit(table(x)).transform(table(x))
        np.testing.assert_allclose(thin.rows(np.arange(30)), dense.x, rtol=1e-5, atol=1e-5)


def test_a_cohort_is_fitted_on_present_samples_and_aligned_by_id():
    mdata = cohort()
    preparation = Preparation.parse({"rna": RECIPE}, ["rna", "protein"]).fit(mdata)
    ready = preparation.transform(mdata)
    assert list(ready) == ["rna", "protein"]
    assert all(len(p) == mdata.n_obs == 40 for p in ready.values())
    protein = ready["protein"].x[ready["protein"].present]
    np.testing.assert_allclose(protein.mean(axis=0), 0, atol=1e-5)
    where = mdata.obs_names.get_loc("S12")
    x = mdata["protein"]["S12"].X[0]
    np.testing.assert_allclose(
        preparation.inverse("protein", ready["protein"].rows(np.array([where])))[0], x, atol=1e-4
    )
    assert preparation.report()[0]["modality"] == "rna"
    absent = preparation.transform(cohort(only=["rna"]))["protein"]
    assert not absent.present.any()
    assert np.isnan(absent.rows(np.arange(3))).all()
    assert absent.width == 4


def test_statistics_do_not_move_when_test_samples_change():
    train, test = cohort(0), cohort(5)
    one = Preparation.parse(None, ["rna", "protein"]).fit(train)
    before = {k: v.copy() for k, v in one.save_state()[0].items()}
    one.transform(test)
    assert all(np.array_equal(v, before[k]) for k, v in one.save_state()[0].items())


def test_saved_as_tensors_and_json(tmp_path):
    mdata = cohort()
    first = Preparation.parse({"rna": RECIPE, "protein": ["clr", "robust"]}, ["rna", "protein"]).fit(mdata)
    tensors, meta = first.save_state()
    safetensors.numpy.save_file(tensors, tmp_path / "prepare.safetensors")
    (tmp_path / "prepare.json").write_text(json.dumps(meta))
    read = safetensors.numpy.load_file(tmp_path / "prepare.safetensors")
    second = Preparation.load_state(read, json.loads((tmp_path / "prepare.json").read_text()))
    new = cohort(3)
    one, two = first.transform(new), second.transform(new)
    for name in one:
        np.testing.assert_array_equal(one[name].rows(np.arange(40)), two[name].rows(np.arange(40)))
        assert one[name].features.equals(two[name].features)
    assert second.describe() == first.describe()
    with pytest.raises(ModelError, match="damaged"):
        Preparation.load_state({}, meta).transform(new)
    with pytest.raises(ModelError, match="damaged"):
        Preparation.load_state(tensors, {})


def test_the_key_prepare_of_a_recipe():
    made = Preparation.parse({"rna": ["log1p"]}, ["rna", "cnv", "adt"], defaults={"adt": []})
    assert made.describe()["rna"] == ["log1p"]
    assert [list(d) for d in made.describe()["cnv"]] == [["standardise"]]
    assert made.describe()["adt"] == []
    with pytest.raises(RecipeError, match=r"prepare\.rnaa: no such modality\ndid you mean 'rna'"):
        Preparation.parse({"rnaa": []}, ["rna"])
    with pytest.raises(DataError, match="protein: no such modality"):
        Preparation.parse(None, ["protein"]).fit(cohort(only=["rna"]))


@pytest.mark.parametrize("wrong", [-1.0, 0.5])
def test_counts_are_whole_numbers_from_zero_on(wrong):
    x = counts()
    x[0, 0] = np.nan
    checks.counts(table(x), "rna")
    checks.counts(table(sp.csr_matrix(x)), "rna")
    x[3, 2] = wrong
    for given in (x, sp.csr_matrix(x)):
        with pytest.raises(DataError, match=f"rna, row 3, feature 'g2': not a count; met {wrong}"):
            checks.counts(table(given), "rna")
